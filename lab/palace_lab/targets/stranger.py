"""A program that knows nothing of our library and has one SQLite file open: it holds, it reads on.

It is the world around the library, so it is the same on every arm.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

from palace_lab.targets.base import Context, Target

#: How long whoever is not the library waits for a lock, in seconds before time scaling.
OBSERVER_BUSY_S = 10.0


class Stranger:
    """Raw connections to one file; `busy_s` is how long they wait for others."""

    def __init__(self, path: Path, *, busy_s: float) -> None:
        self._path = path
        self._busy_s = busy_s
        self._holder: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None

    def hold(self) -> dict[str, Any]:
        """Hold the writer's lock; on a new file one that is not yet WAL."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        db = self._raw()
        try:
            db.execute("BEGIN IMMEDIATE")
            mode = db.execute("PRAGMA journal_mode").fetchone()[0]
        except BaseException:
            db.close()
            raise
        self._holder = db
        return {"journal_mode": mode}

    def release(self, *, after_s: float = 0.0) -> dict[str, Any]:
        """Let go after so many seconds: the length of the hold is the fault itself."""
        if self._holder is None:
            return {"held": False}
        time.sleep(after_s)
        self._holder.execute("ROLLBACK")
        self._holder.close()
        self._holder = None
        return {"held": True}

    def pin(self, table: str) -> dict[str, Any]:
        """Begin to read, and stay in that transaction until `unpin`."""
        self._reader = self._raw()
        self._reader.execute("BEGIN")
        query = f"SELECT count(*) FROM {table}"  # noqa: S608  (a name of the lab's own)
        return {table: self._reader.execute(query).fetchone()[0]}

    def unpin(self) -> dict[str, Any]:
        """End the read."""
        if self._reader is None:
            return {"read": False}
        self._reader.close()
        self._reader = None
        return {"read": True}

    def _raw(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=self._busy_s, isolation_level=None)


class BesideStranger(Target):
    """A target of one SQLite file that a stranger has open as well, in the same process."""

    TABLE: str  # what the stranger reads

    def __init__(self, context: Context, path: Path) -> None:
        super().__init__(context)
        self._stranger = Stranger(path, busy_s=OBSERVER_BUSY_S * context.time_scale)

    def hold(self) -> dict[str, Any]:
        """Hold the writer's lock from a raw connection, on a new file one that is not yet WAL."""
        return self._stranger.hold()

    def release(self, *, after_s: float = 0.0) -> dict[str, Any]:
        """Let go after so many seconds (scaled: the length of the hold is the fault itself)."""
        return self._stranger.release(after_s=after_s * self.context.time_scale)

    def pin(self) -> dict[str, Any]:
        """Begin to read from a raw connection, and stay in that transaction until `unpin`."""
        return self._stranger.pin(self.TABLE)

    def unpin(self) -> dict[str, Any]:
        """End the read."""
        return self._stranger.unpin()
