"""Taking rows of the remote into the memory file, and comparing both when a list was seen whole.

- What came to be here in the meantime wins: a memory stored again while a list was on its way is
  stored again at the remote that deleted it, one deleted here stays deleted. A list may be older
  than what was stored here, so what it has is still to be told: the remote is asked for it then.
- A number is compared with the words it stood for: a list that gives it to others is another
  remote's (`known`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from palace_store.local.connection import LocalConnection
from palace_store.local.memory import Memory, metadata_text
from palace_store.local.store import COUNT_DELETION
from palace_store.sync import notes
from palace_store.sync.known import ExchangedError, Known, listed
from palace_store.sync.rows import Row


def cursor(connection: LocalConnection) -> int:
    """Return up to where the changes of the remote are known."""
    return int(notes.told(connection, "cursor") or 0)


def apply(
    known: Known, rows: Iterable[Row], *, cursor: int | None, dedup: bool, strict: bool
) -> int:
    """Take over rows of the remote; returns how many changed anything here.

    A `cursor` of None leaves the one there is. With `strict` a number of other words raises
    `ExchangedError`, else that memory is told to the remote anew.
    """
    rows = tuple(rows)

    def work(db: sqlite3.Connection) -> int:
        for row in rows:
            if row.memory is not None:
                _compare(db, row.id, row.memory.id, strict=strict)
        changed = sum(_apply(db, row, dedup=dedup) for row in rows)
        if any(row.memory is None for row in rows):
            db.execute(COUNT_DELETION)
        if cursor is not None:
            notes.put(db, "cursor", str(cursor))
        return changed

    return known.write(work)


def add(known: Known, rows: Iterable[Row], *, dedup: bool, strict: bool) -> tuple[int, list[Row]]:
    """Take over live rows of a list that goes on; returns how many were new, and those that wait.

    Those are of words that are here without a number and with nothing to be told: were they given
    one that the rest of the list deletes, they would go with it. `meet` has them, without content.
    """
    rows = tuple(rows)

    def work(db: sqlite3.Connection) -> tuple[int, list[Row]]:
        new, waiting = 0, list[Row]()
        for row in rows:
            if row.memory is not None:
                _compare(db, row.id, row.memory.id, strict=strict)
        for row in rows:
            if row.memory is not None and dedup and _waits(db, row.memory.id):
                waiting.append(Row(row.id, replace(row.memory, content="")))
            else:
                new += _apply(db, row, dedup=dedup)
        return new, waiting

    return known.write(work)


def meet(known: Known, rows: Iterable[Row]) -> None:
    """Give words that are here the numbers of rows that waited for the end of the list."""
    rows = tuple(rows)

    def work(db: sqlite3.Connection) -> None:
        for row in rows:
            if row.memory is not None:
                _compare(db, row.id, row.memory.id, strict=False)
                _recognise(db, row.id, row.memory)

    known.write(work)


def recognise(known: Known, history: str, *, strict: bool) -> None:
    """Compare the name of the remote's history with the one known, and note it.

    Another one raises `ExchangedError`, if it is to be `strict`.
    """

    def work(db: sqlite3.Connection) -> None:
        before = notes.value(db, "history")
        if strict and before is not None and before != history:
            raise ExchangedError
        notes.put(db, "history", history)

    if history and notes.told(known.connection, "history") != history:
        known.write(work)


def numbers(connection: LocalConnection) -> dict[str, int]:
    """Return the numbers that are known of the remote, by the ids of memories."""
    return dict(connection.read("SELECT id, remote_id FROM memories WHERE remote_id IS NOT NULL"))


def adopt(
    known: Known,
    there: Mapping[int, str],
    *,
    held: Mapping[str, int],
    unread: Collection[str] | None = None,
) -> int:
    """Let everything be pushed that the remote lacks, by the numbers and ids a full list had.

    `held` are the numbers that were known before the list was asked for: one that another process
    has learned since may be newer than the list.
    Where the list had malformed rows, `unread` are the ids that can be read of them: then only what
    never had a number there is pushed, without these.
    """

    def work(db: sqlite3.Connection) -> int:
        rows = db.execute(
            "SELECT id, remote_id FROM memories WHERE NOT deleted AND pending IS NULL"
        ).fetchall()
        orphans = 0
        for memory_id, number in rows:
            if unread is not None and (number is not None or memory_id in unread):
                continue
            if number is not None and held.get(memory_id) != number:
                continue
            if there.get(number) == memory_id or notes.promote(db, memory_id, there):
                continue
            db.execute(
                "UPDATE memories SET pending = 'store', remote_id = NULL WHERE id = ?",
                (memory_id,),
            )
            orphans += 1
        return orphans

    return known.write(work)


def complete(known: Known) -> None:
    """Note that each row of the remote was seen."""
    known.write(listed)


def mirror(known: Known, there: Mapping[int, str]) -> None:
    """Delete what a full list lacks: what a resync does that knows nothing of deletions."""

    def work(db: sqlite3.Connection) -> None:
        rows = db.execute("SELECT id, remote_id FROM memories").fetchall()
        gone = [(row[0],) for row in rows if row[1] not in there]
        db.executemany("DELETE FROM memories WHERE id = ?", gone)

    known.write(work)


def _compare(db: sqlite3.Connection, number: int, memory_id: str, *, strict: bool) -> None:
    others = db.execute(
        "SELECT id FROM memories WHERE remote_id = ? AND id <> ?", (number, memory_id)
    ).fetchall()
    copied = notes.copied(db, number) not in (None, memory_id)
    if (others or copied) and strict:
        raise ExchangedError
    if copied:
        notes.take(db, f"copy {number}")
    db.executemany(
        "UPDATE memories SET remote_id = NULL, pending = coalesce(pending, 'store') WHERE id = ?",
        others,
    )


def _apply(db: sqlite3.Connection, row: Row, *, dedup: bool) -> int:
    if row.memory is None:
        return _take_away(db, row.id)
    memory = row.memory
    new = db.execute(
        "INSERT INTO memories (id, namespace, content, metadata, created, remote_id, sent)"
        " VALUES (?, ?, ?, ?, ?, ?, 1) ON CONFLICT (id) DO NOTHING",
        (
            *(memory.id, memory.namespace, memory.content, metadata_text(memory.metadata)),
            *(memory.created, row.id),
        ),
    ).rowcount
    if new == 0 and dedup:
        _recognise(db, row.id, memory)
    return new


def _waits(db: sqlite3.Connection, memory_id: str) -> bool:
    query = "SELECT 1 FROM memories WHERE id = ? AND remote_id IS NULL AND pending IS NULL"
    return db.execute(query, (memory_id,)).fetchone() is not None


def _recognise(db: sqlite3.Connection, number: int, memory: Memory) -> None:
    """Take what the remote has in the words of a memory for that memory, if it is here still."""
    found = db.execute("SELECT remote_id FROM memories WHERE id = ?", (memory.id,)).fetchone()
    before = found[0] if found else number
    if before is None:
        db.execute(
            "UPDATE memories SET remote_id = ?, sent = 1, attempts = 0, parked = 0, error = NULL"
            " WHERE id = ?",
            (number, memory.id),
        )
    elif before != number:
        notes.add_copy(db, number, memory)


def _take_away(db: sqlite3.Connection, number: int) -> int:
    """Take over that the remote deleted a number; words stored here again meanwhile stay."""
    notes.take(db, f"copy {number}")
    rows = db.execute("SELECT id, pending FROM memories WHERE remote_id = ?", (number,)).fetchall()
    return sum(notes.without(db, memory_id, pending) for memory_id, pending in rows)
