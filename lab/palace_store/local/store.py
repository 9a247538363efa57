"""LocalStore: memories in one SQLite file, for every thread of a process and many processes (S4).

    store = LocalStore(palace)                      # makes, opens, or migrates memories.sqlite3
    memory = store.store(content, namespace="home", metadata={"by": "ada"})
    store.recall("words to look for", namespace="home", limit=5)   # -> list[Memory]
    store.delete(memory.id)                         # -> True, or False if nothing is to be done
    store.count(namespace=None)                     # -> int
    store.close()

* All calls may come from any thread. Each is one transaction, or one query.
* `store` of words that are there already returns that memory; its metadata and date stay. It is
  also how a deleted memory comes back.
* A deleted memory is gone from every answer at once. Its row stays until the remote knows, and goes
  at once if the remote never heard of it. Where telling the remote was given up, deleting it once
  more has it told again.
* A lock that outlasts all patience raises `PalaceLockedError`; its `effect` says whether anything
  may have been written. What cannot be stored raises `BadMemoryError`.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar, final

from palace_store.fixes import Fixes
from palace_store.local.connection import LocalConnection
from palace_store.local.memory import (
    DEFAULT_NAMESPACE,
    Memory,
    content_of,
    id_of,
    limit_of,
    metadata_text,
    namespace_of,
    words,
)
from palace_store.local.ranking import words_of
from palace_store.sqlite_lock import check_time_scale
from palace_store.state import place_of

#: Most answers of one recall; bytes of an id.
LIMIT_MAX = 1000
ID_BYTES_MAX = 256

_FIELDS = "id, content, namespace, created, metadata"
_STORE = """INSERT INTO memories (id, namespace, content, metadata, created, pending)
    VALUES (:id, :namespace, :content, :metadata, :created, 'store')
    ON CONFLICT (id) DO UPDATE SET
        metadata = CASE WHEN deleted THEN excluded.metadata ELSE metadata END,
        created = CASE WHEN deleted THEN excluded.created ELSE created END,
        deleted = 0, pending = 'store', attempts = 0, parked = 0, error = NULL"""
#: How often anything was deleted: an answer that was asked for before the last time may be stale.
COUNT_DELETION = """INSERT INTO sync (name, value) VALUES ('deletions', '1')
    ON CONFLICT (name) DO UPDATE SET value = CAST(value AS INTEGER) + 1"""
#: Stored again, deleted words are new ones to a remote that may have the old ones still.
_ANEW = """INSERT OR REPLACE INTO sync (name, value) SELECT 'anew ' || id, '' FROM memories
    WHERE id = :id AND deleted AND (remote_id IS NOT NULL OR sent)"""
#: Whoever was asked for these words before this has answered for an older state of them.
_FORGET_ASKED = "DELETE FROM sync WHERE name = 'asked ' || ?"
T = TypeVar("T")


@final
class LocalStore:
    """The memories of one palace, opened (and made or migrated) by its constructor.

    `time_scale` multiplies every time-out. `clock` dates memories. `seed` fixes the jitter of the
    pauses. For a lab, `on_locked` is called when a lock was met and will be tried again, `on_step`
    before each statement of a migration; neither may call the store.
    """

    def __init__(
        self,
        palace: Path | str,
        *,
        fixes: Fixes | None = None,
        time_scale: float = 1.0,
        clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
        seed: int | None = None,
        on_locked: Callable[[], None] | None = None,
        on_step: Callable[[int], None] = lambda _done: None,
    ) -> None:
        check_time_scale(time_scale)
        self.fixes = Fixes.all() if fixes is None else fixes
        self._clock = clock
        self.connection = LocalConnection(
            place_of(palace),
            self.fixes,
            time_scale=time_scale,
            rng=random.Random(seed),  # noqa: S311  (jitter, no secret)
            on_locked=on_locked,
            on_step=on_step,
        )

    @property
    def path(self) -> Path:
        """Return the SQLite file."""
        return self.connection.path

    def store(
        self,
        content: str,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        metadata: Mapping[str, Any] | None = None,
    ) -> Memory:
        """Keep the words and return their memory; what is there already stays as it is."""
        row = {
            "namespace": namespace_of(namespace),
            "content": content_of(content),
            "metadata": metadata_text(metadata),
            "created": self._clock().astimezone(timezone.utc).isoformat(timespec="seconds"),
        }
        row["id"] = id_of(row["namespace"], row["content"])

        def work(db: sqlite3.Connection) -> Memory:
            db.execute(_ANEW, row)
            db.execute(_STORE, row)
            db.execute(_FORGET_ASKED, (row["id"],))
            query = f"SELECT {_FIELDS} FROM memories WHERE id = ?"  # noqa: S608  (a constant)
            return _memory(db.execute(query, (row["id"],)).fetchone())

        return self.write(work)

    def recall(self, query: str, *, namespace: str | None = None, limit: int = 10) -> list[Memory]:
        """Return memories with words of the query: most of them first, then the newest.

        A word matches anywhere in the content, in any case of its ASCII letters (see `ranking`).
        """
        patterns = [f"%{_escaped(word)}%" for word in words_of(query)]
        score = " + ".join(["(content LIKE ? ESCAPE '\\')"] * len(patterns))
        where, values = _live(namespace)
        rows = self.connection.read(
            f"SELECT {_FIELDS} FROM (SELECT *, {score} AS score FROM memories WHERE {where})"  # noqa: S608
            " WHERE score > 0 ORDER BY score DESC, created DESC, id LIMIT ?",
            (*patterns, *values, limit_of(limit, LIMIT_MAX)),
        )
        return [_memory(row) for row in rows]

    def delete(self, memory_id: str) -> bool:
        """Delete a memory here, and later at the remote; tell whether there was one.

        There also was one if the remote has it still because its deletion was parked.
        """
        wanted = words("id", memory_id, ID_BYTES_MAX)

        def work(db: sqlite3.Connection) -> bool:
            # What was never sent to a remote leaves nothing to be told to it.
            gone = db.execute(
                "DELETE FROM memories WHERE id = ? AND NOT deleted AND remote_id IS NULL"
                " AND NOT sent",
                (wanted,),
            ).rowcount or db.execute(
                "UPDATE memories SET deleted = 1, pending = 'delete', parked = 0, attempts = 0,"
                " error = NULL WHERE id = ? AND (NOT deleted OR parked)",
                (wanted,),
            ).rowcount  # fmt: skip
            if gone:
                db.execute(COUNT_DELETION)
                db.execute(_FORGET_ASKED, (wanted,))
            return bool(gone)

        return self.write(work)

    def get(self, memory_id: str) -> Memory | None:
        """Return one memory, None if there is none."""
        query = f"SELECT {_FIELDS} FROM memories WHERE id = ? AND NOT deleted"  # noqa: S608
        rows = self.connection.read(query, (words("id", memory_id, ID_BYTES_MAX),))
        return _memory(rows[0]) if rows else None

    def all(self, *, namespace: str | None = None) -> list[Memory]:
        """Return every memory, oldest first."""
        where, values = _live(namespace)
        query = f"SELECT {_FIELDS} FROM memories WHERE {where} ORDER BY created, id"  # noqa: S608
        return [_memory(row) for row in self.connection.read(query, values)]

    def count(self, *, namespace: str | None = None) -> int:
        """Return how many memories there are."""
        where, values = _live(namespace)
        query = f"SELECT count(*) FROM memories WHERE {where}"  # noqa: S608  (constants)
        return int(self.connection.read(query, values)[0][0])

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """Hold one transaction for a block: see `LocalConnection.transaction`."""
        return self.connection.transaction()

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in one transaction, again if a peer is in the way."""
        return self.connection.write(work)

    def close(self) -> None:
        """Close the file; twice does no harm."""
        self.connection.close()

    def __enter__(self) -> LocalStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _memory(row: tuple[Any, ...]) -> Memory:
    memory_id, content, namespace, created, metadata = row
    return Memory(memory_id, content, namespace, created, json.loads(metadata))


def _live(namespace: str | None) -> tuple[str, tuple[str, ...]]:
    if namespace is None:
        return "NOT deleted", ()
    return "NOT deleted AND namespace = ?", (namespace_of(namespace),)


def _escaped(word: str) -> str:
    for character in "\\%_":
        word = word.replace(character, f"\\{character}")
    return word
