"""What the memory file notes in its table `sync`, beyond the rows of memories; for transactions.

- "copy 9": the remote has words more than once, and 9 is one more number of theirs. Who deletes
  the words deletes each copy; where the first number goes, the lowest copy takes its place.
- "anew <id>": words that were stored here again after a deletion the remote may not know of. What
  it has of them is deleted first, then they are stored as new ones (`LocalStore.store` notes it).
- "asked <id>": the name of the request that was sent last for words; its answer says how things
  stand. Storing or deleting the words here takes it away (`LocalStore`): whatever is answered then
  is older than that.
- "deleted <id>": how often the remote deleted words that are not here any more, so that nobody has
  to ask it from the first time on. Noted of words that were deleted often.
- The rest is noted by `known` and `intake`.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Mapping

from palace_store.local.connection import LocalConnection
from palace_store.local.memory import Memory, metadata_text

#: From so many deletions on they are noted: a few are faster found again than kept for ever.
_OFTEN = 8
_COPIES = "name >= 'copy ' AND name < 'copy!'"  # a range of the primary key
_COUNTS = "name >= 'deleted ' AND name < 'deleted!'"
#: In SQL: whether a row of `memories` is to be stored anew.
ANEW = "EXISTS (SELECT 1 FROM sync WHERE name = 'anew ' || memories.id)"


def value(db: sqlite3.Connection, name: str) -> str | None:
    """Return what is noted under a name."""
    found = db.execute("SELECT value FROM sync WHERE name = ?", (name,)).fetchone()
    return None if found is None else str(found[0])


def told(connection: LocalConnection, name: str) -> str | None:
    """Return what is noted under a name, outside of a transaction."""
    rows = connection.read("SELECT value FROM sync WHERE name = ?", (name,))
    return str(rows[0][0]) if rows else None


def put(db: sqlite3.Connection, name: str, text: str) -> None:
    """Note something under a name."""
    db.execute("INSERT OR REPLACE INTO sync (name, value) VALUES (?, ?)", (name, text))


def take(db: sqlite3.Connection, name: str) -> None:
    """Note nothing under a name any more."""
    db.execute("DELETE FROM sync WHERE name = ?", (name,))


def take_numbers(db: sqlite3.Connection) -> None:
    """Take away whatever is said in the numbers of a remote."""
    db.execute(f"DELETE FROM sync WHERE name IN ('cursor', 'history') OR {_COPIES} OR {_COUNTS}")  # noqa: S608


def add_copy(db: sqlite3.Connection, number: int, memory: Memory) -> None:
    """Note that the remote has a memory under this number as well."""
    said = [memory.id, memory.created, metadata_text(memory.metadata)]
    put(db, f"copy {number}", json.dumps(said))


def copied(db: sqlite3.Connection, number: int) -> str | None:
    """Return the id of the memory that the remote has under this number as well."""
    said = value(db, f"copy {number}")
    return None if said is None else str(json.loads(said)[0])


def copies(db: sqlite3.Connection, memory_id: str) -> list[int]:
    """Return the further numbers of a memory, lowest first."""
    query = f"SELECT name FROM sync WHERE {_COPIES} AND instr(value, ?) = 1"  # noqa: S608
    rows = db.execute(query, (json.dumps([memory_id])[:-1],)).fetchall()
    return sorted(int(row[0].split()[1]) for row in rows)


def promote(db: sqlite3.Connection, memory_id: str, there: Mapping[int, str] | None = None) -> bool:
    """Let the lowest copy be the memory, where the first number is gone; tell whether there is one.

    With a full list it is the lowest copy that is `there`.
    """
    for number in copies(db, memory_id):
        _, created, metadata = json.loads(value(db, f"copy {number}") or "")
        take(db, f"copy {number}")
        if there is None or there.get(number) == memory_id:
            db.execute(
                "UPDATE memories SET remote_id = ?,"
                " created = CASE WHEN pending IS NULL THEN ? ELSE created END,"
                " metadata = CASE WHEN pending IS NULL THEN ? ELSE metadata END WHERE id = ?",
                (number, created, metadata, memory_id),
            )
            return True
    return False


def is_anew(db: sqlite3.Connection, memory_id: str) -> bool:
    """Tell whether words are to be deleted at the remote before they are stored there."""
    return value(db, f"anew {memory_id}") is not None


def ask(db: sqlite3.Connection, memory_id: str) -> str:
    """Note that a request is about to be sent for words; return its name."""
    name = secrets.token_hex(8)
    put(db, f"asked {memory_id}", name)
    return name


def answered(db: sqlite3.Connection, memory_id: str, name: str) -> bool:
    """Tell whether the answer to a request says how things stand, which ends its note."""
    latest = value(db, f"asked {memory_id}") == name
    if latest:
        take(db, f"asked {memory_id}")
    return latest


def renew(db: sqlite3.Connection, memory_id: str) -> None:
    """Note that the remote has no such words any more: stored there again, they are new ones."""
    _forget_rest(db, memory_id)
    db.execute(
        "UPDATE memories SET remote_id = NULL, incarnation = incarnation + 1, sent = 0"
        " WHERE id = ?",
        (memory_id,),
    )


def drop(db: sqlite3.Connection, memory_id: str) -> None:
    """Take a memory away that the remote has no more; note how often it was deleted there."""
    _forget_rest(db, memory_id)
    (times,) = db.execute(
        "SELECT incarnation + 1 FROM memories WHERE id = ?", (memory_id,)
    ).fetchone()
    times = max(times, deletions(db, memory_id))
    if times >= _OFTEN:
        put(db, f"deleted {memory_id}", str(times))
    db.execute("DELETE FROM memories WHERE id = ?", (memory_id,))


def deletions(db: sqlite3.Connection, memory_id: str) -> int:
    """Return how often the remote is known to have deleted words, 0 where that is not noted."""
    return int(value(db, f"deleted {memory_id}") or 0)


def without(db: sqlite3.Connection, memory_id: str, pending: str | None) -> bool:
    """Let the number of a memory be gone from the remote; tell whether anything changed here.

    A copy takes its place; what is to be stored is stored as new; anything else goes.
    """
    if promote(db, memory_id):
        return True
    if pending == "store":
        renew(db, memory_id)
        return False
    drop(db, memory_id)
    return True


def _forget_rest(db: sqlite3.Connection, memory_id: str) -> None:
    take(db, f"anew {memory_id}")
    take(db, f"asked {memory_id}")
    for number in copies(db, memory_id):
        take(db, f"copy {number}")
