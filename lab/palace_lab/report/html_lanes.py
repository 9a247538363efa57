"""A trial's history as lanes: one for each process, with what it did and what befell it in order.

Rules:
- Plain data, small: times are microseconds after the first event, an operation is its place in a
  list, what is empty at the end of a call is left away.
- Who is in a lane is decided by names alone: what the lab did belongs to the process its words
  begin with, else to a lane of the lab's own.
- A call whose end is not known lasts until its process died, or else until the last event.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import msgspec

from palace_lab.history.merge import Call, calls
from palace_lab.history.segment import CONTRADICTION, DIED, LEFT_OUT, Event
from palace_lab.report.words import one_line

#: The lane of what the lab did to no process in particular.
LAB = "the lab"
#: Texts of errors and faults are cut here; the history has what was recorded of them.
_TEXT_CHARACTERS_MAX = 240
_CLEAN = "ended with exit code 0"
_PHASES = {"ok": 0, "fail": 1, "info": 2}

CallOf = list[int | str]  # begin, duration, operation, phase, first, count, revision, text
MarkOf = tuple[int, str, str]  # when; fault, killed, died or contradiction; in words


class Lane(msgspec.Struct):
    """One process. `by` is plan, looker or lab."""

    name: str
    by: str
    calls: list[CallOf]
    marks: list[MarkOf]


class Lanes(msgspec.Struct):
    """All processes of one trial. `left` calls are not in its history."""

    lanes: list[Lane]
    ops: list[str]
    end: int
    left: int = 0

    @property
    def lookers(self) -> int:
        """Return how many processes looked at what was left, files included."""
        return sum(lane.by == "looker" for lane in self.lanes)

    def calls(self) -> list[CallOf]:
        """Return what the processes of the plan did."""
        return [call for lane in self.lanes if lane.by == "plan" for call in lane.calls]

    def faults(self) -> list[str]:
        """Return what the lab did, in words and in order."""
        faults = [mark for lane in self.lanes for mark in lane.marks if mark[1] == "fault"]
        return [text for _, _, text in sorted(faults)]


def lanes_of(events: Sequence[Event], plan_processes: Collection[str]) -> Lanes:
    """Return the lanes of a history; `plan_processes` are those of the plan, others looked."""
    if not events:
        return Lanes([], [], 0)
    start = min(event.time_ns for event in events)
    end = _micro(max(event.time_ns for event in events) - start)
    made = calls(events)
    names = dict.fromkeys(call.begin.process for call in made) | dict.fromkeys(plan_processes)
    lanes = {
        name: Lane(one_line(name), "plan" if name in plan_processes else "looker", [], [])
        for name in names
    }
    lab = Lane(LAB, "lab", [], [])
    for event in events:
        if (mark := _mark(event, start)) is not None:
            lanes.get(_whose(event, names), lab).marks.append(mark)
    ops: dict[str, int] = {}
    for call in made:
        lane = lanes[call.begin.process]
        lane.calls.append(_call(call, start, lane.marks, end, ops))
    left = sum(event.count for event in events if event.op == LEFT_OUT and event.phase == "note")
    every = [lane for lane in (*lanes.values(), lab) if lane.calls or lane.marks]
    order = {"plan": 0, "lab": 1, "looker": 2}
    every.sort(key=lambda lane: (order[lane.by], _begin(lane)))
    return Lanes(every, [*map(one_line, ops)], end, left)


def _call(call: Call, start: int, marks: Iterable[MarkOf], end: int, ops: dict[str, int]) -> CallOf:
    begin = _micro(call.begin.time_ns - start)
    if call.end is not None:
        until = _micro(call.end.time_ns - start)
    else:
        deaths = [when for when, kind, _ in marks if kind in ("killed", "died") and when >= begin]
        until = min(deaths, default=end)
    about = [call.begin.first, call.begin.count, call.begin.revision]
    op = ops.setdefault(call.begin.op, len(ops))
    made: CallOf = [begin, until - begin, op, _PHASES[call.phase], *about, _cut(call.text)]
    while len(made) > len(_PHASES) + 1 and not made[-1]:
        made.pop()
    return made


def _mark(event: Event, start: int) -> MarkOf | None:
    when = _micro(event.time_ns - start)
    if event.op == DIED and event.phase in ("fault", "note"):
        if event.text.endswith(_CLEAN):
            return None
        return when, "killed" if "sent by the lab" in event.text else "died", _cut(event.text)
    if event.phase == "fault":
        return when, "fault", _cut(f"{event.op}: {event.text}")
    if event.phase == "note" and event.op == CONTRADICTION:
        return when, "contradiction", one_line(event.text)
    return None


def _whose(event: Event, names: Iterable[str]) -> str:
    """Return whose lane a mark belongs to, or "" for the lab's."""
    if event.phase == "note":
        return event.process
    words = f"{event.text} "
    return max((name for name in names if words.startswith(f"{name} ")), key=len, default="")


def _begin(lane: Lane) -> int:
    begun = [*(int(call[0]) for call in lane.calls), *(when for when, _, _ in lane.marks)]
    return min(begun)


def _micro(nanoseconds: int) -> int:
    return nanoseconds // 1000


def _cut(text: str) -> str:
    return one_line(text, characters_max=_TEXT_CHARACTERS_MAX)
