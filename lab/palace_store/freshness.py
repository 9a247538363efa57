"""S2, bug 2: whether a client that is open may still be used, or has to be opened anew first.

chromadb notices nothing of what other processes write, so somebody has to look. Fix `generation`,
by variant: when the client is opened anew, and what that costs.

- on: a number in the palace says that a peer has changed it. Costs one small file an operation.
- eager, what the report found: `chroma.sqlite3` has another mtime than when it was opened, looked
  at before each operation. Own writes change it as well, and from chromadb 1.0 on each opening.
- interval: the same, looked at every 5 s at most; a peer's write is hidden for as long.
- reported: as interval, and an own write is not taken for a peer's. Nor is a peer's that came
  before it, since then.
- off: never.

A database that has disappeared, or that another file has taken the place of, is noticed by the next
operation by each of them but off: which file it is costs one `stat` before each operation.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from palace_store.client import Seat
from palace_store.fixes import Variant

#: S2: the report's interval between two looks, in seconds.
EVERY_S = 5.0


class Freshness:
    """The rule of one store; what it goes by is kept with the client, in its seat."""

    def __init__(self, palace: Path, variant: Variant | None) -> None:
        self._database = str(palace / "chroma.sqlite3")
        self._variant = variant

    def missed(self, seat: Seat, generation: int) -> bool:
        """Tell whether the open client has missed something; once so, until it is opened anew."""
        if self._variant is None:
            return False
        seat.missed = seat.missed or self._looks_changed(seat, generation)
        return seat.missed

    def opened(self, seat: Seat, generation: int) -> None:
        """Note what the palace is like now that the client has been opened."""
        seat.generation, seat.missed = generation, False
        seat.mark, seat.looked_s = self._mark(), time.monotonic()

    def changed(self, seat: Seat, generation: int) -> None:
        """Note an own change."""
        seat.generation = generation
        if self._variant == "reported":
            seat.mark, seat.looked_s = self._mark(), time.monotonic()

    def _looks_changed(self, seat: Seat, generation: int) -> bool:
        mark = self._mark()
        if mark is None or seat.mark is None or seat.mark[:2] != mark[:2]:
            return True
        if self._variant == "on":
            return seat.generation != generation
        if self._variant != "eager":
            if time.monotonic() - seat.looked_s < EVERY_S:
                return False
            seat.looked_s = time.monotonic()
        return seat.mark != mark

    def _mark(self) -> tuple[int, int, int] | None:
        """Return which file the database is, and when it was last written to, in nanoseconds."""
        try:
            found = os.stat(self._database)  # noqa: PTH116  (each operation asks; a Path is slower)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns
