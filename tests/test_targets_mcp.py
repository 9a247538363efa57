"""What a client of a memory server does in a trial, and what the history says of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from palace_lab.environments import ensure
from palace_lab.plan import Plan
from palace_lab.plan.clients import three_clients
from palace_lab.plan.model import Process, Shape
from palace_lab.plan.steps import AnyStep, Begin, Close, Do, Finish, Go, Paused, Together, write
from palace_lab.runner.arena import Arena
from palace_lab.runner.trial import run_trial
from palace_store.fixes import Fixes

pytestmark = [pytest.mark.slow, pytest.mark.s2]

RELEASE = "1.5.9"
FACTS = "SELECT subject, object, ended IS NOT NULL FROM triples ORDER BY id"


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    with Arena([ensure(RELEASE)], scratch_root=None) as found:
        yield found


def plan_of(*steps: AnyStep, **options: str) -> Plan:
    return Plan(
        release=RELEASE,
        fixes=tuple(Fixes.all().words()),
        shape=Shape(embedded=True),
        processes=tuple(Process(name, target="mcp", options=options) for name in ("one", "two")),
        steps=steps,
        observers=("palace", "triples"),
    )


@pytest.mark.nightly
def test_a_client_at_work_writes_drawers_and_tells_and_ends_facts(
    arena: Arena, tmp_path: Path
) -> None:
    work = {"first": 5, "drawers": 4, "facts": 2}
    trial = run_trial(arena, plan_of(Do("one", "work", work), Close("one")), keep=tmp_path)
    assert not trial.lab_error
    assert trial.violations == []
    with closing(sqlite3.connect(tmp_path / "palace" / "knowledge.sqlite3")) as graph:
        assert graph.execute(FACTS).fetchall() == [("one-s5", "o5", 1), ("one-s6", "o6", 1)]
    told = [event.op for event in trial.events if event.phase == "ok"]
    assert [op for op in told if op != "open"] == ["add", "triple", "end"] * 2 + ["add"] * 2
    assert ("one", "work", {"drawers": 4, "refused": 0}) in [
        (name, op, answer["value"]) for name, op, answer in trial.outcome.answers
    ]


def test_a_server_says_how_often_it_has_opened_the_index_anew_for_a_peer(arena: Arena) -> None:
    writes = [write(name, 1, first=n) for n, name in enumerate(("one", "two", "one"))]
    steps = (*writes, *(Do(name, "status") for name in ("one", "two")), Close("two"), Close("one"))
    trial = run_trial(arena, plan_of(*steps))
    assert trial.violations == []
    answers = trial.outcome.answers
    told = {name: said["value"]["reloads"] for name, op, said in answers if op == "status"}
    assert told == {"one": 1, "two": 0}


def test_three_clients_look_for_the_last_drawer_of_each_other() -> None:
    plan = three_clients()
    rounds = [step.calls for step in plan.steps if isinstance(step, Together)]
    written: set[int] = set()
    for work, looks in zip(rounds[::2], rounds[1::2], strict=True):
        last = {last_of(call) for call in work}
        for call in work:
            written.update(range(call.args["first"], last_of(call) + 1))
        for call in looks:
            wanted = {number for number, _ in call.args["wanted"]}
            assert last <= wanted <= written


def last_of(call: Do) -> int:
    return int(call.args["first"] + call.args["drawers"] - 1)


@pytest.mark.parametrize(
    ("mode", "lives"),
    [
        pytest.param("auto", False, id="auto"),
        pytest.param("legacy", True, marks=pytest.mark.nightly, id="legacy"),
    ],
)
def test_a_client_whose_reply_is_cut_repeats_the_call_and_goes_on(
    arena: Arena, mode: str, lives: bool
) -> None:
    plan = with_cut(
        Do("one", "status"),
        Begin("two", "write_cut", {"first": 0, "count": 4, "at": 3}),
        Paused("two", "cut-off"),
        Do("one", "write", {"first": 10, "count": 2}),
        Go("two"),
        Finish("two"),
        Do("two", "found", {"wanted": [[number, 0] for number in (0, 1, 2, 3, 10, 11)]}),
        *(Close(name) for name in ("two", "one")),
        mode=mode,
    )
    trial = run_trial(arena, plan)
    assert not trial.lab_error
    assert trial.violations == []
    assert trial.outcome.goals == {"two came to cut-off": True}
    (said,) = [answer for _, op, answer in trial.outcome.answers if op == "write_cut"]
    assert (said["value"]["written"], said["value"]["cut"]) == (4, 1)
    assert (said["value"]["ended_with"] == "") is lives


@pytest.mark.nightly
def test_a_reply_that_is_not_cut_leaves_the_goal_unreached(arena: Arena) -> None:
    late = {"first": 0, "count": 2, "at": 3}
    steps = (Begin("two", "write_cut", late), Paused("two", "cut-off"), Close("two"), Close("one"))
    trial = run_trial(arena, with_cut(Do("one", "status"), *steps))
    assert trial.violations == []
    assert trial.outcome.goals == {"two came to cut-off": False}


def with_cut(*steps: AnyStep, mode: str = "auto") -> Plan:
    """Return a plan in which client two reaches the server of client one through a relay."""
    plan = plan_of(*steps, transport="http", serves="one", mode=mode)
    one, two = plan.processes
    cut = Process(two.name, target="mcp_cut", options=two.options)
    return plan.changed(processes=(one, cut), observers=("palace",))
