"""What this machine still has to tell the remote and what it knows of it, in the memory file.

Each row of `memories` says for itself: `pending` is what is to be told ("store" or "delete"),
`remote_id` the number at the remote, `incarnation` how often that is known to have deleted these
words, `sent` how often it was sent them since and did not refuse; negative for what only a former
remote may have (`known`). A live row with neither `pending` nor `remote_id` is an orphan: only this
machine has it, and nobody is to be told. More is in `notes`.

Rules:
- Every function is one short transaction. None is open while the remote is waited for.
- What came to be in the meantime wins: a memory stored again while its deletion was on its way is
  stored again at the remote, one deleted while it was being stored is deleted there. Where words
  were stored again while an answer was on its way, the remote is asked once more: it may have
  deleted them in between.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from dataclasses import dataclass
from typing import Literal

from palace_store.local.connection import LocalConnection
from palace_store.local.memory import Memory
from palace_store.sync import notes
from palace_store.sync.known import UNLISTED, Known
from palace_store.sync.report import Parked

_PENDING = "pending IS NOT NULL AND NOT parked"
#: What is to be deleted at a remote that may have it under a number nobody knows yet has to wait.
_DUE = (
    f"{_PENDING} AND NOT (remote_id IS NULL AND sent < 1 AND {UNLISTED}"
    f" AND (pending = 'delete' OR {notes.ANEW}))"
)


@dataclass(frozen=True)
class Operation:
    """Something to tell the remote."""

    kind: Literal["store", "delete"]
    memory: Memory
    incarnation: int
    remote_id: int | None
    sent: bool
    asked: str
    copies: tuple[int, ...] = ()
    #: What the remote has of these words is to be deleted first, then they are stored as new ones.
    anew: bool = False

    @property
    def key(self) -> str:
        """Return the key under which the remote knows this store, however often it is sent.

        It follows from the words, so that two machines that store the same share one memory.
        """
        text = f"{self.memory.id}.{self.incarnation}"
        return hashlib.sha256(text.encode()).hexdigest()


def due(known: Known, *, fair: bool) -> list[str]:
    """Return the ids of memories with something to tell, oldest first.

    If it is to be `fair`, what failed least comes before.
    """
    order = "attempts, created, id" if fair else "created, id"
    query = f"SELECT id FROM memories WHERE {_DUE} ORDER BY {order}"  # noqa: S608  (constants)
    return [row[0] for row in known.connection.read(query)]


def begin(known: Known, memory_id: str) -> Operation | None:
    """Note that an operation is about to be sent, and return it; None if it is not due any more."""

    def work(db: sqlite3.Connection) -> Operation | None:
        found = db.execute(
            "SELECT pending, content, namespace, created, metadata, incarnation, remote_id, sent"  # noqa: S608
            f" FROM memories WHERE id = ? AND {_DUE}",
            (memory_id,),
        ).fetchone()
        if found is None:
            return None
        kind, content, namespace, created, metadata, incarnation, remote_id, sent = found
        if remote_id is None:
            incarnation = max(incarnation, notes.deletions(db, memory_id))
        db.execute(
            "UPDATE memories SET sent = max(sent, 0) + 1, incarnation = ? WHERE id = ?",
            (incarnation, memory_id),
        )
        memory = Memory(memory_id, content, namespace, created, json.loads(metadata))
        copies, anew = tuple(notes.copies(db, memory_id)), notes.is_anew(db, memory_id)
        asked = notes.ask(db, memory_id)
        return Operation(
            *(kind, memory, incarnation, remote_id, sent > 0),
            *(asked, copies, kind == "store" and anew),
        )

    return known.write(work)


def refused(known: Known, operation: Operation) -> None:
    """Note that what was sent last for an operation had no effect."""
    query = "UPDATE memories SET sent = sent - 1 WHERE id = ? AND incarnation = ? AND sent > 0"
    known.write(lambda db: db.execute(query, _values(operation)))


def stored(known: Known, operation: Operation, number: int) -> None:
    """Note that the remote has a memory, under this number."""

    def work(db: sqlite3.Connection) -> None:
        latest = notes.answered(db, operation.memory.id, operation.asked)
        db.execute(
            "UPDATE memories SET remote_id = ?, attempts = 0, error = NULL,"  # noqa: S608  (a constant)
            f" pending = CASE WHEN pending = 'store' AND ? AND NOT {notes.ANEW} THEN NULL"
            " ELSE pending END WHERE id = ? AND incarnation = ?",
            (number, latest, *_values(operation)),
        )

    known.write(work)


def was_deleted(known: Known, operation: Operation) -> None:
    """Note that the remote knows these words as deleted: they are to be stored as new ones."""

    def work(db: sqlite3.Connection) -> None:
        pending = _pending_now(db, operation)
        if pending is not None:
            notes.without(db, operation.memory.id, pending)

    known.write(work)


def deleted(known: Known, operation: Operation, *, told: bool) -> None:
    """Note that the remote has no such memory any more, or never had one if it was not `told`."""

    def work(db: sqlite3.Connection) -> None:
        pending = _pending_now(db, operation)
        if pending == "delete":
            notes.drop(db, operation.memory.id)
        elif pending == "store" and told:  # it was stored here again
            notes.renew(db, operation.memory.id)
        elif pending == "store":
            notes.take(db, f"anew {operation.memory.id}")

    known.write(work)


def failed(known: Known, memory_id: str, why: str, *, attempts_max: int | None) -> bool:
    """Count a failure; tell whether the operation is parked for it."""

    def work(db: sqlite3.Connection) -> bool:
        db.execute(
            "UPDATE memories SET attempts = attempts + 1, error = ? WHERE id = ?", (why, memory_id)
        )
        return attempts_max is not None and bool(
            db.execute(
                "UPDATE memories SET parked = 1 WHERE id = ? AND attempts >= ?",
                (memory_id, attempts_max),
            ).rowcount
        )

    return known.write(work)


def parked(connection: LocalConnection) -> tuple[Parked, ...]:
    """Return every parked operation with its reason."""
    query = (
        "SELECT id, content, pending, attempts, error FROM memories WHERE parked AND pending IS NOT"
        " NULL ORDER BY created, id"
    )
    return tuple(Parked(*row) for row in connection.read(query))


def unpark(connection: LocalConnection) -> int:
    """Let everything parked be tried again; returns how many operations that are."""
    query = "UPDATE memories SET parked = 0, attempts = 0 WHERE parked"
    return connection.write(lambda db: db.execute(query).rowcount)


def pending(connection: LocalConnection) -> int:
    """Return how many operations are due, parked ones not counted."""
    return int(connection.read(f"SELECT count(*) FROM memories WHERE {_PENDING}")[0][0])  # noqa: S608


def orphans(connection: LocalConnection) -> int:
    """Return how many memories only this machine has, with nobody to be told of them."""
    query = "NOT deleted AND pending IS NULL AND remote_id IS NULL"
    return int(connection.read(f"SELECT count(*) FROM memories WHERE {query}")[0][0])  # noqa: S608


def _values(operation: Operation) -> tuple[str, int]:
    return operation.memory.id, operation.incarnation


def _pending_now(db: sqlite3.Connection, operation: Operation) -> str | None:
    """Return what is to be told by now; None if a peer has told it, or the words are new ones."""
    query = "SELECT pending FROM memories WHERE id = ? AND incarnation = ?"
    found = db.execute(query, _values(operation)).fetchone()
    return None if found is None else found[0]
