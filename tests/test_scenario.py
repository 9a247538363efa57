"""What a scenario may be, its arms, and that nothing but the arm differs between them."""

from __future__ import annotations

from typing import Any

import pytest
from real import REAL

from palace_lab.catalog import Listed
from palace_lab.environments import known_releases
from palace_lab.errors import UsageError
from palace_lab.plan import Plan, steps
from palace_lab.plan.model import Process
from palace_lab.scenario import RELEASES, SQLITE, Arm, Scenario, Size, Wrong
from palace_store.fixes import Fixes

PLAN = Plan(
    processes=(
        Process(
            "old", "chroma", "0.6.3", ("lease",), may_refuse=True, options={"wings": 1, "key": 2}
        ),
    ),
    steps=(
        steps.write("old", 5),
        steps.Together((steps.write("left", 5), steps.write("right", 5))),
    ),
)


def scenario(**values: Any) -> Scenario:
    usual = {"system": "s1", "plan": PLAN, "off": Fixes.none(), "accepts": {"*": "locked"}}
    return Scenario(**{**usual, **values})


def plan_of(made: Scenario, arm: Arm, size: Size | None = None) -> Plan:
    return made.plan_for(arm, "1.5.9", 7, size or Size(), "s1/example")


# What a scenario may be --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"system": "s9"}, "'s9' is none of s0, s1"),
        ({"off": None}, "exactly one"),
        ({"wrong": Wrong("odd")}, "exactly one"),
        ({"accepts": {}}, "accepts lists no signature"),
        ({"accepts": {"*": ()}}, "accepts lists no signature"),
        ({"accepts": {"*": "lokced"}}, r"\['lokced'\], which is no known name"),
        ({"accepts": {"*": ("locked", "hang")}}, r"\['hang'\], which is the lab's own trouble"),
        ({"accepts": {"0.6.3": "locked", ">=1": "import-error"}}, "the lab's own trouble"),
    ],
)
def test_what_makes_no_sense_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        scenario(**values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("accepts", "release", "accepted"),
    [
        ({"*": "locked"}, "1.5.9", {"locked"}),
        ({"*": "locked"}, SQLITE, {"locked"}),
        ({SQLITE: "locked"}, SQLITE, {"locked"}),
        ({SQLITE: "locked"}, "1.5.9", set()),
        ({"1.5.9": "locked"}, "1.5.9", {"locked"}),
        ({"1.5.9": "locked"}, "1.5.90", set()),
        ({">=1.0": "locked", "0.6.3": "finding-id"}, "0.6.3", {"finding-id"}),
        ({">=1.0": "locked", "0.6.3": "finding-id"}, "1.0.21", {"locked"}),
        ({">=1.0,<1.5": "locked"}, "1.5.9", set()),
        ({">=1.0": "locked"}, "0.5.23", set()),
        ({">=1.0": "locked"}, SQLITE, set()),
        ({">=1.0": "locked"}, "1.6.0rc1", {"locked"}),
        ({">=1.0": "locked"}, "1.10.0", {"locked"}),
        ({"*": "locked", ">=1.0": ("finding-id", "index-ruined")}, "1.3.7",
         {"locked", "finding-id", "index-ruined"}),
    ],
)  # fmt: skip
def test_what_is_accepted_on_a_release(
    accepts: dict[str, str | tuple[str, ...]], release: str, accepted: set[str]
) -> None:
    assert scenario(accepts=accepts).accepted_on(release) == accepted


@pytest.mark.parametrize(
    ("releases", "rows"),
    [
        (RELEASES, ["0.5.23", "0.6.3", "1.0.21", "1.3.7", "1.5.7", "1.5.9", "1.6.0rc1", "1.6.0"]),
        (("1.0.21", "1.5.9"), ["1.0.21", "1.3.7", "1.5.7", "1.5.9", "1.6.0rc1", "1.6.0"]),
        (("0.6.3",), ["0.6.3"]),
        (("0.6.3", "1.0.21"), ["0.6.3", "1.0.21", "1.3.7", "1.5.7"]),
        (("1.5.9",), ["1.5.9", "1.6.0rc1", "1.6.0"]),
        (("1.5.7",), ["1.5.7", "1.6.0rc1", "1.6.0"]),
    ],
)
def test_which_releases_have_a_row(releases: tuple[str, ...], rows: list[str]) -> None:
    made = scenario(releases=releases)
    every = ["0.5.23", "0.6.3", "1.0.21", "1.3.7", "1.5.7", "1.5.9", "1.6.0rc1", "1.6.0"]
    assert [release for release in every if made.runs_on(release)] == rows


# Arms --------------------------------------------------------------------------------------------


def test_a_proof_and_a_guard_have_their_arms_in_order() -> None:
    proof = scenario(as_reported=Fixes.reported("kg"))
    assert [arm.role for arm in proof.arms()] == ["off", "as-reported", "fixed"]
    assert [arm.fixes for arm in proof.arms()] == [
        Fixes.none(),
        Fixes.reported("kg"),
        Fixes.all(),
    ]
    guard = scenario(off=None, wrong=Wrong("odd", Fixes.none(), {"wrong": "x"}))
    assert [arm.role for arm in guard.arms()] == ["wrong", "fixed"]
    assert (guard.is_guard, proof.is_guard) == (True, False)
    assert guard.arms()[0].options == {"wrong": "x"}
    assert guard.arms()[1] == Arm("fixed", Fixes.all())


def test_wrong_options_apply_to_all_processes_and_to_nothing_else_of_them() -> None:
    guard = scenario(off=None, wrong=Wrong("odd", options={"wrong": "x", "key": 3}))
    wrong, fixed = (plan_of(guard, arm) for arm in guard.arms())
    assert fixed.processes == PLAN.processes
    assert wrong.process("old") == Process(
        "old",
        "chroma",
        "0.6.3",
        ("lease",),
        may_refuse=True,
        options={"wings": 1, "key": 3, "wrong": "x"},
    )
    for name in ("left", "right"):
        assert wrong.process(name) == Process(name, options={"wrong": "x", "key": 3})
    assert len(wrong.processes) == 3
    assert PLAN.processes[0].options == {"wings": 1, "key": 2}


def test_a_plan_may_be_made_to_size() -> None:
    def plan(size: Size) -> Plan:
        return Plan(steps=tuple(steps.write(f"w{n}", 1) for n in range(size.processes or 2)))

    made = scenario(plan=plan)
    (arm, *_) = made.arms()
    assert len(plan_of(made, arm).steps) == 2
    assert len(plan_of(made, arm, Size(processes=5)).steps) == 5


def alike(plan: Plan) -> Plan:
    """The plan without what belongs to its arm."""
    processes = [plan.process(name) for name in plan.process_names()]
    bare = tuple(
        Process(each.name, each.target, each.release, each.fixes, each.may_refuse)
        for each in processes
    )
    return plan.changed(arm="", fixes=(), processes=bare)


@pytest.mark.parametrize("listed", REAL, ids=lambda each: each.name)
@pytest.mark.parametrize("size", [Size(), Size(processes=3, triples=7, drawers=5)])
def test_arms_differ_in_their_name_fixes_and_options_only(listed: Listed, size: Size) -> None:
    made = listed.scenario
    plans = {
        arm.role: made.plan_for(arm, made.releases[0], 7, size, listed.name) for arm in made.arms()
    }
    assert len(plans) == len(made.arms()) >= 2
    assert len({str(alike(plan)) for plan in plans.values()}) == 1
    for arm in made.arms():
        plan = plans[arm.role]
        assert (plan.name, plan.arm) == (listed.name, arm.role)
        assert (plan.release, plan.seed) == (made.releases[0], 7)
        assert Fixes.parse(plan.fixes) == arm.fixes
        given = [plan.process(name).options for name in plan.process_names()]
        assert all(arm.options.items() <= options.items() for options in given)
        if not arm.options:
            assert plan.processes == plans["fixed"].processes


@pytest.mark.parametrize("listed", REAL, ids=lambda each: each.name)
def test_no_two_arms_are_the_same_experiment(listed: Listed) -> None:
    arms = [(arm.fixes, tuple(sorted(arm.options.items()))) for arm in listed.scenario.arms()]
    assert len(set(arms)) == len(arms)
    assert listed.scenario.fixed == Fixes.all()


@pytest.mark.parametrize("listed", REAL, ids=lambda each: each.name)
def test_releases_and_probability_can_be(listed: Listed) -> None:
    made = listed.scenario
    assert made.releases
    assert set(made.releases) <= {*known_releases(), SQLITE}
    assert made.probability is None or 0 < made.probability <= 1
    assert made.reports
