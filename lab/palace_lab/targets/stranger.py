"""A program that knows nothing of our library and has one SQLite file open: it holds, it reads on.

It is the world around the library, so it is the same on every arm.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any


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
