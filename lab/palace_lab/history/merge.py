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
        paths = sorted(directory.glob("*.hist"))
        events = [event for path in paths for event in read_segment(path)]
        return sorted(events, key=lambda event: (event.time_ns, event.process, event.call))


def calls(events: Iterable[Event]) -> list[Call]:
    """Pair invocations with their ends, in the order of the invocations."""
    with many_objects():
        return _paired(list(events))


def _paired(known: list[Event]) -> list[Call]:
    begun = [event for event in known if event.phase == "invoke"]
    # By process, then by call: a key for each of a million calls would cost more than the calls.
    places: dict[tuple[str, int], dict[int, int]] = {}
    for place, event in enumerate(begun):
        places.setdefault((event.process, event.pid), {})[event.call] = place
    ends: list[Event | None] = [None] * len(begun)
    for event in known:
        if event.phase in _ENDS:
            place_of_it = places.get((event.process, event.pid), {}).get(event.call)
            if place_of_it is not None:
                ends[place_of_it] = event
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
