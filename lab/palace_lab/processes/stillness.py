"""Whether a process does anything at all: whether a thread of it, or of its children, has run.

A chromadb process that a torn index has brought into a deadlock uses no processor, meets no timer
and waits for nothing that could come (measured on 1.5.9: eleven threads, not one of them scheduled
in 4 s). A process that is slow, starved or waits for a lock by trying again is never like that: a
thread of it is runnable, waits for the disk, or has run since it was last looked at.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it is published without type information

_ASLEEP = "S"
_GONE = ("Z", "X")

_Threads = frozenset[tuple[str, str, str]]


class Stillness:
    """Looks at one process again and again; `look` says for how long nothing has run in it.

    Time counts only as far as it was watched, `gap_s_max` between two looks at most: a machine that
    stands still as a whole says nothing about a process.
    """

    def __init__(self, pid: int, *, gap_s_max: float) -> None:
        self._pid = pid
        self._gap_s_max = gap_s_max
        self._seen: _Threads | None = None
        self._looked_s = time.monotonic()
        self._still_s = 0.0

    def look(self) -> float:
        """Return for how many seconds no thread has run, 0 while one has or could."""
        threads, now_s = asleep(self._pid), time.monotonic()
        if threads is None or threads != self._seen:
            self._still_s = 0.0
        else:
            self._still_s += min(now_s - self._looked_s, self._gap_s_max)
        self._seen, self._looked_s = threads, now_s
        return self._still_s


def asleep(pid: int) -> _Threads | None:
    """Return all threads and how often each was scheduled, None if not all of them are asleep."""
    found = set()
    try:
        family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
        for member in family:
            for path in Path(f"/proc/{member}/task").iterdir():
                fields = dict(_fields(path / "status"))
                state = fields["State"][:1]
                if state in _GONE:
                    continue
                if state != _ASLEEP:
                    return None
                switches = (
                    fields["voluntary_ctxt_switches"],
                    fields["nonvoluntary_ctxt_switches"],
                )
                found.add((path.name, *switches))
    except (OSError, psutil.Error, KeyError):
        return None  # something ended while we looked, so something ran
    return frozenset(found) or None


def _fields(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        yield name, value.strip()
