"""What a recall has shown of the remote's, so that whoever was shown it can have it deleted.

A memory that only the remote has is not in the file of this machine yet. Its row goes there when it
is to be deleted, as what is to be told to the remote.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterable

from palace_store.local.memory import metadata_text
from palace_store.local.store import LocalStore
from palace_store.sync.rows import Row

#: How many are remembered, the latest: our choice, several long answers.
ROWS_MAX = 200


class Shown:
    """The rows that were shown last. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: OrderedDict[str, Row] = OrderedDict()

    def remember(self, rows: Iterable[Row]) -> None:
        """Take note of rows that an answer shows."""
        with self._lock:
            for row in rows:
                if row.memory is not None:
                    self._rows[row.memory.id] = row
                    self._rows.move_to_end(row.memory.id)
            while len(self._rows) > ROWS_MAX:
                self._rows.popitem(last=False)

    def delete(self, store: LocalStore, memory_id: str) -> bool:
        """Delete a memory from a store that may never have had it; tell whether there was one."""
        with self._lock:
            row = self._rows.get(memory_id)

        def work(db: sqlite3.Connection) -> bool:
            if store.delete(memory_id):
                return True
            return row is not None and _take(db, row) and store.delete(memory_id)

        deleted = store.write(work)
        with self._lock:
            self._rows.pop(memory_id, None)
        return deleted


def _take(db: sqlite3.Connection, row: Row) -> bool:
    memory = row.memory
    return memory is not None and bool(
        db.execute(
            "INSERT INTO memories (id, namespace, content, metadata, created, remote_id, sent)"
            " VALUES (?, ?, ?, ?, ?, ?, 1) ON CONFLICT (id) DO NOTHING",
            (
                *(memory.id, memory.namespace, memory.content, metadata_text(memory.metadata)),
                *(memory.created, row.id),
            ),
        ).rowcount
    )
