"""The course of a trial: everything that happened in it, and of a long one as much as is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from palace_lab.catalog import find_scenarios
from palace_lab.checks.evidence import Look, Observation, Violation
from palace_lab.history.merge import calls, read_jsonl, write_jsonl
from palace_lab.history.segment import CONTRADICTION, LEFT_OUT, Event, Phase, Recorder
from palace_lab.judge.results import TrialRecord
from palace_lab.processes.exits import Exit
from palace_lab.runner.cells import KEPT_EACH, KEPT_MAX, Cell
from palace_lab.runner.course import CONTRADICTIONS_MAX, EVENTS_MAX, course, ends, looked
from palace_lab.scenario import Size


def event(process: str, phase: Phase, when: int, call: int = 0, **more: Any) -> Event:
    values = {"op": "add", "first": 0, "count": 1, "revision": 0, "text": "", **more}
    return Event(process=process, pid=7, call=call, phase=phase, time_ns=when, **values)


def made(count: int, ending: Phase = "ok", process: str = "w") -> list[Event]:
    return [
        event(process, phase, 10 * n + (phase != "invoke"), n)
        for n in range(count)
        for phase in ("invoke", ending)  # type: ignore[list-item]
    ]


def noted(events: Sequence[Event], op: str) -> list[tuple[str, int, str]]:
    return [(each.process, each.time_ns, each.text) for each in events if each.op == op]


def test_a_contradiction_is_marked_where_and_when_it_showed() -> None:
    events = [*made(3), event("r", "invoke", 50, 1), event("r", "fail", 60, 1)]
    violations = [
        Violation("c", "locked", "said so", process="w", time_ns=15),
        Violation("c", "locked", "one whose time is not known", process="r"),
        Violation("c", "locked", "one that failed nowhere", process="w"),
        Violation("c", "locked", "nobody's"),
    ]
    kept = course(events, violations)
    assert [each.time_ns for each in kept] == sorted(each.time_ns for each in kept)
    assert sorted(noted(kept, CONTRADICTION)) == [
        ("", 60, "nobody's [locked]"),
        ("r", 60, "one whose time is not known [locked]"),
        ("w", 15, "said so [locked]"),
        ("w", 21, "one that failed nowhere [locked]"),
    ]


def test_a_course_that_is_not_long_is_kept_whole() -> None:
    events = made(EVENTS_MAX // 2)
    assert course(events, []) == events


@pytest.mark.parametrize("ending", ["ok", "fail", "info"])
def test_a_long_course_loses_whole_calls_and_says_how_many(ending: Phase) -> None:
    faults = [event("nemesis", "fault", n, op="stop", text="w") for n in range(9)]
    events = [*made(EVENTS_MAX, ending), *faults, event("w", "invoke", 10**9, 10**6)]
    kept = course(events, [Violation("c", "locked", "s", process="w")] * 200)
    assert len(kept) <= EVENTS_MAX + 1 + CONTRADICTIONS_MAX
    (note,) = [each for each in kept if each.op == LEFT_OUT]
    whole = calls(kept)
    assert note.count + len(whole) == EVENTS_MAX + 1
    assert sum(call.end is None for call in whole) <= 1
    assert [each for each in kept if each.phase == "fault"] == faults


def test_calls_that_ended_badly_are_left_out_last() -> None:
    events = [*made(EVENTS_MAX), *made(40, "fail", "unlucky")]
    kept = calls(course(events, []))
    assert sum(call.phase == "fail" for call in kept) == 40
    own = [call.begin.call for call in kept if call.begin.process == "w"]
    assert (min(own), max(own)) == (0, EVENTS_MAX - 1)


def test_who_looked_is_told_from_who_did_and_when(tmp_path: Path) -> None:
    for place, name in (
        ("history", "writer"),
        ("history", "reader-0"),
        ("check-3/history", "reader-0"),
    ):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        recorder = Recorder(tmp_path / place / f"{name}.hist", name)
        recorder.write("ok", "opened", recorder.invoke("opened"))
        recorder.close()
    events = looked(tmp_path, {"writer", "nemesis"})
    assert [each.process for each in events] == ["reader-0"] * 2 + ["check-3/reader-0"] * 2


def test_an_observer_that_ended_in_good_order_is_not_noted() -> None:
    looks = (Look("opened", "died", None, "", 0.1, 77),)
    crashed = Observation("palace", looks, Exit(None, 11, by_lab=False), "reader-palace-0")
    fine = Observation("palace", looks, Exit(0, None, by_lab=False), "reader-palace-1")
    assert [(each.process, each.time_ns, each.text) for each in ends([crashed, fine])] == [
        ("reader-palace-0", 77, "died by SIGSEGV")
    ]


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    events = course(made(3), [Violation("c", "locked", "a\nb\u2028c \x00", process="w")])
    write_jsonl(events, tmp_path / "kept")
    assert read_jsonl(tmp_path / "kept") == events


def cell() -> Cell:
    listed = find_scenarios()[0]
    return Cell(listed, "1.5.9", "1.5.9", listed.scenario.arms()[-1], 4, 1, Size())


def test_of_an_arm_the_first_trial_and_a_few_of_each_outcome_are_kept() -> None:
    bench = cell()
    assert [bench.keeps(n, "held") for n in range(1, 6)] == [True] * KEPT_EACH + [False] * 2
    assert bench.keeps(0, "held")
    assert [bench.keeps(n, "locked") for n in range(6, 10)] == [True] * KEPT_EACH + [False]
    more = [bench.keeps(n, f"kind {n}") for n in range(10, 99)]
    assert 2 * KEPT_EACH + 1 + sum(more) == KEPT_MAX


def test_who_goes_on_keeps_no_more_than_one_run_does() -> None:
    bench = cell()
    record = TrialRecord(
        scenario="",
        system="",
        release="",
        arm="",
        index=0,
        seed=0,
        plan="",
        plan_sha256="",
        history="histories/kept",
        signature="locked",
        reached=True,
        goals={},
        violations=(),
        exits={},
        seconds=0.0,
        written_bytes=0,
    )
    bench.records = {0: record, 1: msgspec.structs.replace(record, history="")}
    assert [bench.keeps(n, "locked") for n in range(2, 6)] == [True] * (KEPT_EACH - 1) + [False] * 2
