"""What a recall has shown of the remote's, so that whoever was shown it can have it deleted.

A memory that only the remote has is not in the file of this machine yet. Its row goes there when it
is to be deleted, as what is to be told to the remote.

Its number is of the remote that showed it. Where the numbers mean other memories by then, the row
goes there without one: the whole list of the remote says whether it has these words.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterable

from palace_store.local.memory import metadata_text
from palace_store.local.store import LocalStore
from palace_store.sync import notes
from palace_store.sync.known import SENT_TO_FORMER, generation_of
from palace_store.sync.rows import Row

#: How many are remembered, the latest: our choice, several long answers.
ROWS_MAX = 200


class Shown:
    """The rows that were shown last. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: OrderedDict[str, tuple[Row, int]] = OrderedDict()

    def remember(self, rows: Iterable[Row], generation: int) -> None:
        """Take note of rows that an answer shows, with the generation of their numbers."""
        with self._lock:
            for row in rows:
                if row.memory is not None:
                    self._rows[row.memory.id] = (row, generation)
                    self._rows.move_to_end(row.memory.id)
            while len(self._rows) > ROWS_MAX:
                self._rows.popitem(last=False)

    def delete(self, store: LocalStore, memory_id: str) -> bool:
        """Delete a memory from a store that may never have had it; tell whether there was one."""
        with self._lock:
            shown = self._rows.get(memory_id)

        def work(db: sqlite3.Connection) -> bool:
            if store.delete(memory_id):
                return True
            return shown is not None and _take(db, *shown) and store.delete(memory_id)

        deleted = store.write(work)
        with self._lock:
            self._rows.pop(memory_id, None)
        return deleted


def _take(db: sqlite3.Connection, row: Row, generation: int) -> bool:
    memory = row.memory
    if memory is None:
        return False
    known = generation == generation_of(db) and not _of_others(db, row.id)
    number, sent = (row.id, 1) if known else (None, SENT_TO_FORMER)
    return bool(
        db.execute(
            "INSERT INTO memories (id, namespace, content, metadata, created, remote_id, sent)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
            (
                *(memory.id, memory.namespace, memory.content, metadata_text(memory.metadata)),
                *(memory.created, number, sent),
            ),
        ).rowcount
    )


def _of_others(db: sqlite3.Connection, number: int) -> bool:
    """Tell whether a number is one of words that are here; these are not."""
    query = "SELECT 1 FROM memories WHERE remote_id = ?"
    return bool(db.execute(query, (number,)).fetchone() or notes.copied(db, number))
