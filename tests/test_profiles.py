"""What each profile runs, and how often."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from real import REAL as LISTED

from palace_lab.commands.prepare import chosen, without_row
from palace_lab.errors import UsageError
from palace_lab.judge.statistics import SequentialTest
from palace_lab.plan import Plan
from palace_lab.plan.steps import Upgrade
from palace_lab.runner.cells import PROFILES, most_trials
from palace_lab.scenario import SYSTEMS, Scenario
from palace_store.fixes import Fixes

QUICK, CI, FULL = PROFILES["quick"], PROFILES["ci"], PROFILES["full"]


def names(profile: str, *, nightly: bool = False) -> set[str]:
    return {each.name for each in chosen((), nightly=nightly, profile=PROFILES[profile])}


def test_the_quick_profile_has_a_proof_of_every_system() -> None:
    quick = names("quick")
    proofs = {each.system for each in LISTED if each.name in quick and not each.scenario.is_guard}
    assert proofs == set(SYSTEMS)


def test_the_quick_profile_upgrades_a_living_server_with_the_published_fix() -> None:
    quick = names("quick")
    played = [each.scenario for each in LISTED if each.name in quick and each.system == "s0"]
    published = [each for each in played if each.as_reported == Fixes.reported("stale-server")]
    plans = [each.plan for each in published if isinstance(each.plan, Plan)]
    assert any(
        isinstance(step, Upgrade) and plan.target_of(step.process) == "mcp"
        for plan in plans
        for step in plan.steps
    )


def test_ci_has_all_of_quick_and_more_and_nightly_has_all() -> None:
    assert names("quick") < names("ci") < names("quick", nightly=True)
    assert names("full") == names("quick")
    assert names("quick", nightly=True) == {each.name for each in LISTED}


def test_what_ci_leaves_out_is_nightly_and_says_so() -> None:
    out = {each.name for each in LISTED} - names("ci")
    assert out == {each.name for each in LISTED if not each.scenario.in_ci}
    assert all(each.scenario.nightly for each in LISTED if each.name in out)


@pytest.mark.parametrize("n", [1, 5, 20])
def test_a_race_may_take_as_many_trials_as_decide_it_and_no_other_arm_more(n: int) -> None:
    for scenario in (each.scenario for each in LISTED):
        for arm in scenario.arms():
            most = most_trials(n, arm, scenario)
            if scenario.probability is None or arm.role not in ("off", "wrong"):
                assert most == n
            else:
                assert most >= max(6 * n, SequentialTest(scenario.probability).enough())


def test_the_page_says_how_many_trials_a_race_of_a_report_may_take() -> None:
    page = " ".join((Path(__file__).parents[1] / "docs" / "repro.md").read_text().split())
    found = re.search(r"(\d+) for `(\S+)` \((\d+) %\), (\d+) for every other race there is", page)
    assert found is not None
    most = {
        each.name: most_trials(5, arm, each.scenario)
        for each in LISTED
        if each.scenario.probability is not None
        for arm in each.scenario.arms()
        if arm.role == "off"
    }
    rare = most.pop(found[2])
    assert (rare, set(most.values())) == (int(found[1]), {int(found[4])})
    (named,) = [each.scenario for each in LISTED if each.name == found[2]]
    assert named.probability == int(found[3]) / 100


def test_a_name_is_enough_to_run_what_a_profile_leaves_out() -> None:
    (named,) = chosen(("s1/by-lot",), nightly=False)
    assert named.name == "s1/by-lot"


def test_ci_tries_a_nightly_scenario_less_often_and_the_others_as_quick_does() -> None:
    slow = next(each.scenario for each in LISTED if each.scenario.nightly)
    fast = next(each.scenario for each in LISTED if not each.scenario.nightly)
    for arm in slow.arms():
        assert CI.trials(slow, arm) < QUICK.trials(slow, arm)
    for arm in fast.arms():
        assert CI.trials(fast, arm) == QUICK.trials(fast, arm)
    for scenario in (slow, fast):
        fixed = next(arm for arm in scenario.arms() if arm.role == "fixed")
        assert CI.with_trials(9).trials(scenario, fixed) == 9
        assert FULL.trials(scenario, fixed) == 100


def test_what_is_not_in_ci_has_to_be_nightly() -> None:
    scenario: Scenario = LISTED[0].scenario
    with pytest.raises(UsageError, match="nightly=True"):
        replace(scenario, nightly=False, in_ci=False)


def test_what_has_no_row_on_a_release_asked_for_is_named() -> None:
    scenarios = chosen(("s1/replaced-vectors", "s1/count-of-old", "s2/kg-holder"), nightly=True)
    newer, older = "s1/replaced-vectors", "s1/count-of-old"
    assert without_row(scenarios, []) == {}
    assert without_row(scenarios, ["0.6.3"]) == {"0.6.3": [newer]}
    assert without_row(scenarios, ["0.6.3", "1.5.9"]) == {"0.6.3": [newer], "1.5.9": [older]}


def test_where_nothing_that_was_chosen_runs_it_is_a_usage_error() -> None:
    scenarios = chosen(("s1/replaced-vectors",), nightly=True)
    with pytest.raises(UsageError, match=r"runs on 0\.6\.3: s1/replaced-vectors is for 1\.0\.21"):
        without_row(scenarios, ["0.6.3"])
