"""Plans drawn by lot: the same lot gives the same plan, and every plan can be played and sent."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palace_lab.catalog import find_scenarios, select
from palace_lab.judge.results import TrialRecord
from palace_lab.plan import dump_plan
from palace_lab.plan.drawn import STOPS, by_lot
from palace_lab.plan.model import Plan
from palace_lab.plan.steps import Begin, Check, Close, Crash, Do, Kill
from palace_lab.plan.text import parse_plan
from palace_lab.runner.cells import Cell
from palace_lab.scenario import Size

SEEDS = st.integers(0, 2**63)


def drawn(seed: int, release: str) -> Plan:
    return by_lot(random.Random(seed), release)  # noqa: S311 (a lot, no secret)


@given(SEEDS, st.sampled_from([*STOPS, "1.5.7"]))
def test_the_same_lot_draws_the_same_plan_and_it_can_be_written(seed: int, release: str) -> None:
    plan = drawn(seed, release).changed(release=release)
    assert plan == drawn(seed, release).changed(release=release)
    assert parse_plan(dump_plan(plan), "here") == plan


@given(SEEDS, st.sampled_from(STOPS))
def test_nobody_works_after_his_end_and_nobody_works_unknown(seed: int, release: str) -> None:
    plan = drawn(seed, release)
    known = {process.name for process in plan.processes}
    ended: set[str] = set()
    for step in plan.steps:
        assert not isinstance(step, Check)
        name = getattr(step, "process", "")
        if not name:
            continue
        assert name in known
        assert name not in ended
        if isinstance(step, Close | Kill):
            ended.add(name)
    assert set(plan.process_names()) - ended == {"last"}


@given(SEEDS, st.sampled_from(STOPS))
def test_which_environments_are_needed_is_no_matter_of_luck(seed: int, release: str) -> None:
    plan = drawn(seed, release).changed(release=release)
    assert plan.releases() == {stop for stop in STOPS if STOPS.index(stop) <= STOPS.index(release)}
    assert any(isinstance(step, Crash) for step in plan.steps)


@pytest.mark.parametrize("release", STOPS)
def test_all_kinds_of_harm_are_drawn(release: str) -> None:
    plans = [drawn(seed, release) for seed in range(200)]
    first = {plan.process(plan.process_names()[0]).release for plan in plans}
    assert first == {*STOPS[: STOPS.index(release)], ""}
    for what in ("mender", "stranger"):
        count = sum(any(what in name for name in plan.process_names()) for plan in plans)
        assert 40 < count < 190, what
    killed_at_work = sum(any(isinstance(step, Begin) for step in plan.steps) for plan in plans)
    assert 100 < killed_at_work < 199


@given(SEEDS, st.sampled_from(STOPS))
def test_a_stranger_comes_to_a_palace_that_was_looked_after_and_is_asked_for_anew(
    seed: int, release: str
) -> None:
    steps = drawn(seed, release).steps
    alive: set[str] = set()
    unseen: dict[str, set[int]] = {}
    for before, step in itertools.pairwise(steps):
        name = getattr(step, "process", "")
        if isinstance(step, Close | Kill):
            alive.discard(name)
        elif name.startswith("stranger"):
            if name not in alive:
                assert isinstance(before, Do)
                assert before.op == "count"
                assert not before.process.startswith("stranger")
            assert isinstance(step, Do)
            first, count = step.args["first"], step.args["count"]
            for other in alive - {name}:
                unseen.setdefault(other, set()).update(range(first, first + count))
            alive.add(name)
        elif name:
            alive.add(name)
        if isinstance(step, Do) and step.op == "found":
            asked = {row[0] for row in step.args["wanted"]}
            assert asked.isdisjoint(unseen.get(name, ()))


@pytest.mark.parametrize(("unreached", "name"), [(1, "HELD"), (3, "VACUOUS")])
def test_some_plans_come_to_no_fault_and_most_have_to(unreached: int, name: str) -> None:
    (listed,) = select(find_scenarios(), ["s1/by-lot"])
    fixed = listed.scenario.arms()[-1]
    cell = Cell(listed, "1.5.9", "1.5.9", fixed, 4, 1, Size())
    for index in range(4):
        cell.records[index] = record(index, reached=index >= unreached)
    assert cell.result().verdict.name == name


def record(index: int, *, reached: bool) -> TrialRecord:
    return TrialRecord(
        scenario="s1/by-lot",
        system="s1",
        release="1.5.9",
        arm="fixed",
        index=index,
        seed=1,
        plan="",
        plan_sha256="",
        history="",
        signature=None,
        reached=reached,
        goals={},
        violations=(),
        exits={},
        seconds=1.0,
        written_bytes=0,
    )
