"""The course of a trial as it is kept for people: one history of everything that happened in it.

Rules:
- To what the processes of the plan did comes what those did who looked at the palace afterwards or
  in between, how they ended, and where each contradiction showed, as events of the phase *note*.
- A process that looked in mid-plan is named `check-<step>/<name>`.
- A long course is shortened: calls are left out whole, those that ended well first and from the
  middle, and a note says how many. So a file has at most `EVENTS_MAX` events and a few notes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from palace_lab.checks.evidence import Observation, Violation
from palace_lab.history.merge import calls, merge
from palace_lab.history.segment import CONTRADICTION, DIED, LEFT_OUT, Event
from palace_lab.report.words import one_line
from palace_lab.runner.observe import place_midway

#: Events of one trial that are kept; an event has about 150 bytes as JSON.
EVENTS_MAX = 2000
#: Contradictions that are marked in the course; the record of a trial has all of them.
CONTRADICTIONS_MAX = 50


def looked(directory: Path, plan_processes: Collection[str]) -> list[Event]:
    """Return what those recorded who looked at a trial's palace, from its directory."""
    events = [
        event for event in merge(directory / "history") if event.process not in plan_processes
    ]
    for place in sorted(directory.glob(place_midway("*"))):
        events += [
            replace(event, process=f"{place.name}/{event.process}")
            for event in merge(place / "history")
        ]
    return events


def ends(observations: Iterable[Observation]) -> Iterator[Event]:
    """Yield a note for each observer that did not end in good order."""
    for seen in observations:
        if seen.ended is not None and not seen.ended.clean and seen.looks:
            when = seen.looks[-1].ended_ns
            yield _note(seen.process, DIED, when, text=seen.ended.describe())


def course(events: Sequence[Event], violations: Sequence[Violation]) -> list[Event]:
    """Return the course of a trial, ordered by time, with its contradictions."""
    kept = _shortened(events)
    kept += [
        _note(
            each.process,
            CONTRADICTION,
            each.time_ns or _shown_at(events, each.process),
            text=f"{one_line(each.sentence)} [{each.signature}]",
        )
        for each in violations[:CONTRADICTIONS_MAX]
    ]
    return sorted(kept, key=lambda event: event.time_ns)


def _shown_at(events: Sequence[Event], process: str) -> int:
    """Return when something showed in a process of which only the name is known."""
    own = [event for event in events if event.process == process]
    bad = [event for event in own if event.phase in ("fail", "info")]
    return max((event.time_ns for event in bad[:1] or own or events), default=0)


def _shortened(events: Sequence[Event]) -> list[Event]:
    if len(events) <= EVENTS_MAX:
        return list(events)
    made = calls(events)
    bad = [call for call in made if call.phase != "ok"][: EVENTS_MAX // 8]
    good = [call for call in made if call.phase == "ok"]
    room = EVENTS_MAX * 3 // 8 - len(bad)
    kept = [*bad, *good[: room // 2], *good[max(room // 2, len(good) - room // 2) :]]
    others = [event for event in events if event.phase in ("fault", "note")][: EVENTS_MAX // 4]
    whole = [event for call in kept for event in (call.begin, call.end) if event is not None]
    left = len(made) - len(kept)
    when = kept[-1].begin.time_ns if kept else events[0].time_ns
    note = _note("", LEFT_OUT, when, count=left, text=f"{left} calls are left out")
    return [*others, *whole, note]


def _note(process: str, what: str, time_ns: int, *, count: int = 0, text: str) -> Event:
    return Event(process, 0, 0, "note", what, time_ns, 0, count, 0, text)
