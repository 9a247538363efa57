"""Merging the segments of a trial into one history, and asking it what was acknowledged.

Rules: events are ordered by the machine's monotonic clock, then by process. What a process was
told is judged call by call: only *ok* is an acknowledgement, only *fail* is known to have had no
effect; everything else, a death included, is unknown.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from pathlib import Path

import msgspec

from palace_lab.errors import LabError
from palace_lab.history.segment import Event, Phase, read_segment

_ENDS = frozenset({"ok", "fail", "info"})
#: Made before any thread, like those of plans (plan/text.py).
_EVENTS = msgspec.json.Decoder(Event)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one process with its end; an end that never came is info."""

    begin: Event
    end: Event | None

    @property
    def phase(self) -> Phase:
        """Return ok, fail or info."""
        return "info" if self.end is None else self.end.phase

    @property
    def text(self) -> str:
        """Return what the ending said: the error of a fail or info."""
        return "its process ended inside the call" if self.end is None else self.end.text


@contextmanager
def many_objects() -> Iterator[None]:
    """Do without the search for cycles in a block that only makes objects, without any.

    Each of its passes looks at every object there is, so the time for a million of them grew
    faster than their number. Another thread may end this early, which costs no more than that.
    """
    searching = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searching:
            gc.enable()


def merge(directory: Path) -> list[Event]:
    """Read every segment of the directory into one list, ordered by time."""
    with many_objects():
        segments = [list(read_segment(path)) for path in sorted(directory.glob("*.hist"))]
        segments.sort(key=lambda segment: segment[0].process if segment else "")
        # One number to compare, and a sort that keeps the order of equals: by process, and within
        # a process as it was recorded. A key of all three for each of a million events costs more
        # than ten times what it costs for a tenth of them.
        return sorted(chain.from_iterable(segments), key=attrgetter("time_ns"))


def calls(events: Iterable[Event]) -> list[Call]:
    """Pair invocations with their ends, in the order of the invocations.

    Events are in an order in which each end comes after its invocation, as `merge` gives them.
    """
    with many_objects():
        return _paired(events)


def _paired(known: Iterable[Event]) -> list[Call]:
    begun: list[Event] = []
    ends: list[Event | None] = []
    # Only of calls that are under way: a table of a million is slow to look anything up in.
    places: dict[tuple[str, int, int], int] = {}
    for event in known:
        if event.phase == "invoke":
            places[event.process, event.pid, event.call] = len(begun)
            begun.append(event)
            ends.append(None)
        elif event.phase in _ENDS:
            place = places.pop((event.process, event.pid, event.call), None)
            if place is not None:
                ends[place] = event
    return [Call(begin, end) for begin, end in zip(begun, ends, strict=True)]


def write_jsonl(events: Iterable[Event], path: Path) -> None:
    """Write a history as JSON lines, one event a line, for people and other tools."""
    encoder = msgspec.json.Encoder()
    with path.open("wb") as out:
        for event in events:
            out.write(encoder.encode(event) + b"\n")


def read_jsonl(path: Path) -> list[Event]:
    """Read back what `write_jsonl` wrote; raises `LabError` for anything else."""
    try:
        return [_EVENTS.decode(line) for line in path.read_bytes().splitlines()]
    except OSError as error:
        raise LabError(f"the history {path} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LabError(f"{path} is no history of this lab: {error}") from None
