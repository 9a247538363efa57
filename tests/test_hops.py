"""Plans through several releases: a check in mid-plan, and a release that cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from real import REAL

from palace_lab.catalog import select
from palace_lab.checks.evidence import Evidence
from palace_lab.checks.expected import Expectation
from palace_lab.cli import palace_lab as cli
from palace_lab.commands import run as run_module
from palace_lab.environments import Environment, ensure
from palace_lab.errors import ExitCode
from palace_lab.plan import Plan, steps
from palace_lab.plan.hops import hops
from palace_lab.runner.arena import Arena
from palace_lab.runner.cells import shown_releases
from palace_lab.runner.outcome import Checked
from palace_lab.runner.trial import _violations, run_trial
from palace_lab.scenario import RELEASES, Size
from palace_store.anatomy import survey
from palace_store.fixes import Fixes

NEWEST = "1.5.9"
HOPS = select(REAL, ["hops"])


def checked_plan(*between: steps.AnyStep) -> Plan:
    doing = (steps.write("writer", 40), *between, steps.Check())
    return Plan(release=NEWEST, observers=("chroma",), steps=doing)


# The plan ----------------------------------------------------------------------------------------


def test_every_release_writes_dies_and_is_looked_at_by_the_next() -> None:
    plan = hops("0.5.23", "1.0.21").changed(release=NEWEST)
    assert plan.releases() == {"0.5.23", "1.0.21", NEWEST}
    doomed = [step.process for step in plan.steps if isinstance(step, steps.Crash)]
    assert doomed == ["writer-0.5.23", "writer-1.0.21"]
    assert [step.release for step in plan.steps if isinstance(step, steps.Check)] == ["1.0.21", ""]
    written: list[int] = []
    for step in plan.steps:
        if isinstance(step, steps.Do):
            written += range(step.args["first"], step.args["first"] + step.args["count"])
    assert written == list(range(240))


def test_a_release_that_only_looks_is_one_the_plan_needs() -> None:
    plan = Plan(release=NEWEST, steps=(steps.Check("0.6.3"),))
    assert plan.releases() == {"0.6.3", NEWEST}


# What is seen in between -------------------------------------------------------------------------


@pytest.mark.slow
def test_a_check_sees_what_is_there_then_and_leaves_it_alone(tmp_path: Path) -> None:
    plan = checked_plan(steps.Close("writer")).changed(observers=("palace", "chroma"))
    later = (*plan.steps, steps.write("second", 5, first=40), steps.Close("second"))
    plan = plan.changed(fixes=tuple(Fixes.all().words()), steps=later)
    with Arena([ensure(NEWEST)], scratch_root=None) as arena:
        trial = run_trial(arena, plan.changed(observers=()), keep=tmp_path / "none")
        assert trial.outcome.checked[0].evidence.observations == ()
        trial = run_trial(arena, plan, keep=tmp_path / "kept")
    assert not trial.lab_error
    assert trial.violations == []
    (checked,) = trial.outcome.checked
    assert (checked.step, checked.release) == (2, NEWEST)
    assert len(checked.evidence.expected.must) == 40
    for seen in checked.evidence.observations:
        assert [look.stage for look in seen.looks][-1] == "found-new"
        assert {look.phase for look in seen.looks} == {"ok"}
    assert trial.evidence
    assert len(trial.evidence.expected.must) == 45
    # Whoever looked in mid-plan wrote 12 drawers of its own, and none of them into this palace.
    (drawers,) = survey(tmp_path / "none" / "palace").collections
    assert sorted(drawers.ids) == [f"d{number:07d}" for number in range(45)]


@pytest.mark.slow
def test_a_palace_that_is_still_written_to_is_not_checked() -> None:
    with Arena([ensure(NEWEST)], scratch_root=None) as arena:
        trial = run_trial(arena, checked_plan())
    assert trial.lab_error.startswith("step 1 checks the palace while writer may still write")


def test_a_contradiction_is_told_once_with_the_step_after_which_it_was_seen() -> None:
    finding = {"kind": "segment-missing", "severity": "damage", "sentence": "no index files"}

    def evidence(*findings: dict[str, str]) -> Evidence:
        after = {"findings": list(findings), "collections": {}, "allocated_bytes": 1}
        nothing = Expectation({}, {}, frozenset())
        return Evidence(Plan(steps=()), (), nothing, (), {"after": after}, {}, ())

    sound, broken = evidence(), evidence(finding)
    said = "segment-missing: no index files"
    early = "after step 4, looked at by 0.6.3: "
    checked = [Checked(2, "0.5.23", sound), Checked(4, "0.6.3", broken), Checked(6, "1", broken)]
    assert [each.sentence for each in _violations(checked, broken)] == [early + said]
    assert [each.sentence for each in _violations(checked, sound)] == [early + said]
    assert [each.sentence for each in _violations(checked[:1], broken)] == [said]
    assert _violations(checked[:1], sound) == []


# Releases ----------------------------------------------------------------------------------------


def test_a_scenario_has_rows_for_its_own_releases_unless_others_are_asked_for() -> None:
    (pair,) = select(HOPS, ["hops/reported-pair"])
    assert "1.5.7" not in RELEASES
    assert shown_releases(pair.scenario, ()) == ["1.5.7"]
    assert shown_releases(pair.scenario, ("1.5.7", "1.5.9")) == ["1.5.7"]
    assert shown_releases(pair.scenario, ("0.6.3",)) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("hops/four-releases", "0.5.23"),
        pytest.param("hops/reported-pair", "1.5.7", marks=pytest.mark.nightly),
    ],
)
def test_a_release_that_cannot_be_had_is_named_and_nothing_is_green(
    name: str, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def provide(
        releases: list[str], *_: object, **__: object
    ) -> tuple[list[Environment], dict[str, str]]:
        asked.extend(releases)
        ready = [ensure(release) for release in releases if release != missing]
        return ready, {missing: f"chromadb {missing}: no wheel for this machine"}

    monkeypatch.setattr(run_module, "provide", provide)
    result = CliRunner().invoke(
        cli, ["run", name, "--report-dir", str(tmp_path)], standalone_mode=False
    )
    assert missing in asked
    assert result.return_value == ExitCode.REFUSED, result.output
    assert "REFUSED" in result.output
    assert f"chromadb {missing}: no wheel for this machine" in result.output
    assert "1 refused" in result.output
    assert not {"REPRODUCED", "HELD"} & set(result.output.split())


@pytest.mark.parametrize("listed", HOPS, ids=lambda each: each.name)
def test_a_hop_kills_and_checks_before_the_next_release_writes(listed: object) -> None:
    scenario = listed.scenario  # type: ignore[attr-defined]  # a Listed; pytest passes objects
    plan = scenario.plan_for(scenario.arms()[0], scenario.releases[0], 1, Size(), "hop")
    kinds = [type(step).__name__ for step in plan.steps]
    assert kinds.count("Crash") == kinds.count("Check") == len(plan.releases()) - 1
    assert kinds[-2:] == ["Do", "Close"]
