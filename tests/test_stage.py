"""Steps that stop a process at a call or ask it to end, played on knowledge graphs."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from palace_lab.environments import Environment
from palace_lab.errors import LabError
from palace_lab.plan.graph import on_graph
from palace_lab.plan.steps import (
    AnyStep,
    Backdate,
    Begin,
    Crash,
    Do,
    Fail,
    Finish,
    Held,
    Hold,
    Kill,
    Paused,
    Release,
    Terminate,
)
from palace_lab.processes.supervise import tracing_available, wait_any
from palace_lab.runner.arena import Arena
from palace_lab.runner.deadline import Deadline
from palace_lab.runner.launch import limits_for
from palace_lab.runner.outcome import Outcome, backdated
from palace_lab.runner.stage import Stage
from palace_lab.runner.trial import record_points
from palace_store.fixes import Fixes

pytestmark = [
    pytest.mark.s2,
    pytest.mark.skipif(tracing_available() is not None, reason=str(tracing_available())),
]

RELEASE = "none"
COMMIT = Hold("w", "write", "*/knowledge.sqlite3-wal")
BEGUN = Begin("w", "add", {"n": 1})


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """Return an arena on this very interpreter: the graph needs no chromadb."""
    here = Environment(RELEASE, RELEASE, Path(sys.executable), "", Path(sys.prefix), "")
    with Arena([here], scratch_root=tmp_path_factory.mktemp("arena")) as arena:
        yield arena
        assert arena.leaks() == []


def play(arena: Arena, *steps: AnyStep) -> Outcome:
    return stage_of(arena, *steps).play()


def stage_of(arena: Arena, *steps: AnyStep) -> Stage:
    plan = on_graph(*steps).changed(release=RELEASE, fixes=tuple(Fixes.all().words()))
    directory = arena.trial_directory()
    return Stage(arena, plan, directory, deadline=Deadline(), recording=False)


def test_a_process_is_held_while_others_go_on(arena: Arena) -> None:
    peers = Do("peer", "read_all")
    outcome = play(arena, Do("w", "open"), COMMIT, BEGUN, Held("w"), peers, Release("w"))
    assert outcome.goals == {"w held": True}
    answers = [(name, op) for name, op, _ in outcome.answers if op not in ("open", "close")]
    assert answers == [("peer", "read_all"), ("w", "add")]


@pytest.mark.parametrize("wait", [(), (Held("w"),)], ids=["release", "held"])
def test_a_process_that_does_not_come_there_is_not_held(
    arena: Arena, wait: tuple[AnyStep, ...]
) -> None:
    reads = Begin("w", "read_all")
    outcome = play(arena, Do("w", "open"), COMMIT, reads, *wait, Release("w"), Finish("w"))
    assert outcome.goals == {"w held": False}
    assert outcome.exits["w"].clean


def test_a_process_that_dies_before_it_comes_there_is_not_held(arena: Arena) -> None:
    point = Crash("w", "write", "*/knowledge.sqlite3-wal", k=1)
    later = Hold("w", "write", "*/knowledge.sqlite3-wal", k=2)
    outcome = play(arena, Do("w", "open"), point, later, BEGUN, Held("w"), Release("w"))
    assert outcome.goals == {
        "w held": False,
        "w killed at write */knowledge.sqlite3-wal k=1": True,
    }


@pytest.mark.parametrize("op", ["install_shutdown_handler", "open"])
def test_an_idle_process_ends_when_it_is_asked_to(arena: Arena, op: str) -> None:
    outcome = play(arena, Do("w", op), Terminate("w"), Do("next", "add", {"n": 1}))
    assert outcome.goals == {"w ended by SIGTERM": True}
    assert outcome.exits["w"].signal == signal.SIGTERM
    assert outcome.exits["w"].by_lab
    assert outcome.exits["next"].clean
    assert outcome.hangs == []


def test_a_process_in_mid_commit_ends_when_it_is_asked_to(arena: Arena) -> None:
    asked = (Do("w", "install_shutdown_handler"), COMMIT, BEGUN, Held("w"), Terminate("w"))
    outcome = play(arena, *asked, Release("w"), Finish("w"))
    assert outcome.goals == {"w held": True, "w ended by SIGTERM": True}
    assert [op for _, op, _ in outcome.answers] == ["open", "install_shutdown_handler"]


def test_a_process_that_is_killed_in_a_call_has_been(arena: Arena) -> None:
    outcome = play(arena, Do("w", "open"), COMMIT, BEGUN, Held("w"), Kill("w"), Do("p", "read_all"))
    assert outcome.goals == {"w held": True, "w killed in mid-call": True}
    assert [op for name, op, _ in outcome.answers if name == "w"] == ["open"]


def test_a_process_that_had_answered_was_not_killed_in_a_call(arena: Arena) -> None:
    cast = stage_of(arena).cast
    cast.begin("w", "open", {})
    assert wait_any([cast.workers["w"]], Deadline().seconds)
    cast.kill("w")
    cast.close()
    assert cast.outcome.goals == {"w killed in mid-call": False}
    assert [op for _, op, _ in cast.outcome.answers] == ["open"]


@pytest.mark.parametrize("before", [(), (BEGUN, Finish("w"))], ids=["none", "finished"])
def test_a_process_that_is_killed_between_calls_has_no_goal(
    arena: Arena, before: tuple[AnyStep, ...]
) -> None:
    outcome = play(arena, Do("w", "open"), *before, Kill("w"))
    assert outcome.goals == {}
    assert outcome.exits["w"].killed_by_lab


def test_a_process_that_died_before_was_not_killed_in_a_call(arena: Arena) -> None:
    point = Crash("w", "write", "*/knowledge.sqlite3-wal", k=1)
    outcome = play(
        arena, Do("w", "open"), point, BEGUN, Do("p", "read_all"), Paused("w", "x"), Kill("w")
    )
    assert outcome.goals["w killed in mid-call"] is False


@pytest.mark.parametrize("end", [(Kill("w"),), ()], ids=["killed", "stays"])
def test_a_crash_point_nothing_came_to_is_not_reached_however_the_process_ended(
    arena: Arena, end: tuple[AnyStep, ...]
) -> None:
    point = Crash("w", "write", "*/no-such-file", k=1)
    outcome = play(arena, Do("w", "open"), point, Do("w", "add", {"n": 1}), *end)
    assert outcome.goals == {"w killed at write */no-such-file k=1": False}
    assert outcome.exits["w"].killed_by_lab == bool(end)


def test_a_crash_point_that_killed_is_reached(arena: Arena) -> None:
    point = Crash("w", "write", "*/knowledge.sqlite3-wal", k=1)
    outcome = play(arena, Do("w", "open"), point, Do("w", "add", {"n": 1}), Kill("w"))
    assert outcome.goals == {"w killed at write */knowledge.sqlite3-wal k=1": True}


@pytest.mark.parametrize("k", [1, None], ids=["played", "recorded"])
def test_a_process_with_two_crash_points_is_refused(arena: Arena, k: int | None) -> None:
    at = None if k else 0.5
    twice = [
        Crash("w", "write", "*/knowledge.sqlite3-wal", k=k, at=at),
        Crash("w", "unlink", "*/never", k=k, at=at),
    ]
    given = (Do("w", "open"), *twice, Do("w", "add", {"n": 1}))
    with pytest.raises(LabError, match="w has two crash points; give it one"):
        _ = (
            play(arena, *given)
            if k
            else record_points(arena, on_graph(*given).changed(release=RELEASE))
        )


@pytest.mark.parametrize("pattern", ["*.sqlite3", "no-such-file"])
def test_times_that_are_set_back_are_a_goal(arena: Arena, pattern: str) -> None:
    back = Backdate(pattern, seconds=60)
    outcome = play(arena, Do("w", "open"), back)
    assert outcome.goals == {backdated(back): pattern == "*.sqlite3"}


def test_calls_that_are_to_fail_do_and_the_goal_says_so(arena: Arena) -> None:
    full = Fail("w", "write", "*/knowledge.sqlite3-wal")
    outcome = play(arena, Do("w", "open"), full, Do("w", "add", {"n": 1}), Do("peer", "read_all"))
    assert outcome.goals == {"w failed at write */knowledge.sqlite3-wal": True}
    said = {op: value for _, op, value in outcome.answers}
    assert said["add"] == {"done": "info", "error": "OperationalError: database or disk is full"}
    assert said["read_all"]["value"]["triples"] == []


def test_where_nothing_came_to_it_the_goal_is_not_reached(arena: Arena) -> None:
    full = Fail("w", "write", "*/no-such-file")
    outcome = play(arena, Do("w", "open"), full, Do("w", "add", {"n": 1}))
    assert outcome.goals == {"w failed at write */no-such-file": False}
    assert [op for _, op, _ in outcome.answers] == ["open", "add"]


def test_a_process_whose_calls_fail_twice_over_is_refused(arena: Arena) -> None:
    twice = [Fail("w", "write", pattern) for pattern in ("*/a", "*/b")]
    with pytest.raises(LabError, match="w has two steps that trouble its calls"):
        play(arena, Do("w", "open"), *twice)


def test_a_process_that_works_through_a_long_trial_is_not_killed_for_it() -> None:
    longest_s = 25 * 60  # of `s2/all-at-once`, beside other work (docs/s2-measured.md)
    lives, looks = limits_for(None), limits_for(None, looks=True)
    assert lives.cpu_s is not None
    assert lives.cpu_s > longest_s
    assert looks.cpu_s is not None
    assert looks.cpu_s < longest_s
