"""A library under the clock: the same calls as in a plan, timed inside the process that makes them.

Vectors are made before the clock starts. Option `library` names the target that is timed.
"""

from __future__ import annotations

import importlib
import statistics
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palace_lab.targets.base import Context, Target
from palace_lab.targets.drawers import DrawersTarget
from palace_lab.workloads.vectors import document, drawer_id


class TimedTarget(Target):
    """One process that writes, opens or searches one palace, and says how long that took."""

    RECORDS_ITSELF = frozenset({"open", "prepare", "write", "opened", "search", "found"})

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        library = importlib.import_module(f"palace_lab.targets.{context.options['library']}")
        self._inner: DrawersTarget = library.target(context)
        self._first = 0
        self._vectors: NDArray[np.float32] = np.empty((0, 0), np.float32)

    def open(self) -> None:
        """Open the palace; not timed."""
        self._inner.open()

    def prepare(self, *, first: int, count: int) -> None:
        """Make the vectors of drawers `first` to `first + count - 1`."""
        self._first = first
        rows = [self._inner.vector(number, 0) for number in range(first, first + count)]
        self._vectors = np.asarray(rows, np.float32)

    def write(self, *, batch: int) -> dict[str, float]:
        """Add the prepared drawers; returns the seconds of all and of the slowest call."""
        slowest_s = 0.0
        began = time.monotonic()
        for start in range(0, len(self._vectors), batch):
            rows: Any = self._vectors[start : start + batch]
            numbers = range(self._first + start, self._first + start + len(rows))
            call_began = time.monotonic()
            ids = [drawer_id(number) for number in numbers]
            self._inner.put("add", ids, rows, [document(number) for number in numbers])
            slowest_s = max(slowest_s, time.monotonic() - call_began)
        return {"seconds": time.monotonic() - began, "slowest_s": slowest_s}

    def opened(self) -> dict[str, float]:
        """Open the palace, count, and ask for the nearest of one prepared drawer."""
        began = time.monotonic()
        self._inner.open()
        count = self._inner.count()
        rows: Any = self._vectors[:1]
        self._inner.nearest(rows, 1)
        return {"seconds": time.monotonic() - began, "count": count}

    def search(self, *, n: int = 10) -> dict[str, float]:
        """Search for each prepared drawer by itself; returns the median seconds of one search."""
        took = []
        for start in range(len(self._vectors)):
            rows: Any = self._vectors[start : start + 1]
            began = time.monotonic()
            self._inner.answers(rows, n)
            took.append(time.monotonic() - began)
        return {"seconds": statistics.median(took)}

    def found(self, *, first: int, count: int) -> dict[str, Any]:
        """Return the drawers that cannot be found by their own vector."""
        return self._inner.found(wanted=[[number, 0] for number in range(first, first + count)])

    def close(self) -> None:
        """Close what was opened."""
        self._inner.close()


def target(context: Context) -> TimedTarget:
    """Return the target for the worker loop."""
    return TimedTarget(context)
