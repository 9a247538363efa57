"""The schema of the memory file, every version it has had, and the way from each to the next.

`PRAGMA user_version` says which one a file has; 0 is a new file. Versions:

1. content and creation time, an integer id;
2. with namespace, metadata and the number the remote gave it;
3. the id follows from the words (`memory.id_of`), so equal words are one memory; with what is still
   to be told to the remote, and what is known of it.

Rules:
- All steps are one transaction together with the number, so a death leaves the old file or the new.
- One process at a time migrates: the others wait at a lock file, as any holder is waited for, and
  find it done. The switch to WAL is in there too: SQLite refuses it at once while a peer is busy.
- Words that were stored twice become one memory, the older one; nothing else is dropped.
- A newer file, or one that is none of ours, is refused and left as it is.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable

from palace_store.errors import PalaceError
from palace_store.file_shape import Schema, newer_than_known, shape_of
from palace_store.local.memory import DEFAULT_NAMESPACE, id_of

VERSION = 3
_COLUMNS_1 = frozenset({"id", "content", "created"})
_COLUMNS_2 = _COLUMNS_1 | {"namespace", "metadata", "remote_id"}
_COLUMNS_3 = _COLUMNS_2 | {
    "deleted",
    "pending",
    "incarnation",
    "sent",
    "attempts",
    "parked",
    "error",
}
#: What a file of each version has.
SCHEMA = Schema(
    {
        1: {"memories": _COLUMNS_1},
        2: {"memories": _COLUMNS_2},
        VERSION: {"memories": _COLUMNS_3, "sync": frozenset({"name", "value"})},
    }
)

_MEMORIES = """CREATE TABLE memories (
    id TEXT PRIMARY KEY, namespace TEXT NOT NULL, content TEXT NOT NULL, metadata TEXT NOT NULL,
    created TEXT NOT NULL, deleted INTEGER NOT NULL DEFAULT 0,
    pending TEXT CHECK (pending IN ('store', 'delete')), incarnation INTEGER NOT NULL DEFAULT 0,
    remote_id INTEGER, sent INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0,
    parked INTEGER NOT NULL DEFAULT 0, error TEXT)"""
_REST = (
    "CREATE INDEX memories_pending ON memories (pending) WHERE pending IS NOT NULL",
    "CREATE INDEX memories_remote ON memories (remote_id) WHERE remote_id IS NOT NULL",
    "CREATE TABLE sync (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
)
_STEPS: dict[int, tuple[str, ...]] = {
    0: (_MEMORIES, *_REST, "PRAGMA user_version = 3"),
    1: (
        f"ALTER TABLE memories ADD COLUMN namespace TEXT NOT NULL DEFAULT '{DEFAULT_NAMESPACE}'",
        "ALTER TABLE memories ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}'",
        "ALTER TABLE memories ADD COLUMN remote_id INTEGER",
        "PRAGMA user_version = 2",
    ),
    2: (
        "ALTER TABLE memories RENAME TO memories_2",
        _MEMORIES,
        """INSERT INTO memories (id, namespace, content, metadata, created, remote_id)
            SELECT memory_id(namespace, content), namespace, content, metadata, created, remote_id
            FROM memories_2 ORDER BY id ON CONFLICT DO NOTHING""",
        "DROP TABLE memories_2",
        *_REST,
        "PRAGMA user_version = 3",
    ),
}


class MemoryFileError(PalaceError):
    """The memory file cannot be used as it stands; the sentence says why. Raised before any effect.

    Whatever had been begun is undone.
    """

    effect = "none"


def version_of(db: sqlite3.Connection) -> int:
    """Return the schema version of a file."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def check(db: sqlite3.Connection, path: object, *, whole: bool = True) -> None:
    """Raise `MemoryFileError` for a file that this library cannot have made.

    Without `whole` one with a number is believed, as a migration does that may be cut off (S4).
    """
    shape = shape_of(db)
    if SCHEMA.newer(shape):
        raise MemoryFileError(newer_than_known(path, shape.version, VERSION))
    why = SCHEMA.strange(shape) if whole or shape.version < 1 else None
    if why is None and whole and 0 < shape.version < VERSION:
        why = _unreadable(db, shape.version)
    if why is not None:
        raise MemoryFileError(
            f"{path} cannot be used, it holds no memories of this library, {why}: point to another "
            "palace, or move it aside"
        )


def _unreadable(db: sqlite3.Connection, version: int) -> str | None:
    """Return in words which memory of an old version could not be read once it is migrated."""
    metadata = "'{}'" if version == 1 else "metadata"
    query = f"SELECT id, typeof(content), typeof(created), {metadata} FROM memories"  # noqa: S608
    for ident, *kinds, text in db.execute(query):
        if kinds != ["text", "text"]:
            return f"memory {ident} is no text or has no date"
        try:
            fit = isinstance(json.loads(text), dict)
        except (ValueError, TypeError, RecursionError):
            fit = False
        if not fit:
            return f"the metadata of memory {ident} is no JSON object"
    return None


def migrate(db: sqlite3.Connection, on_step: Callable[[int], None]) -> None:
    """Take the file from whatever version it has to the newest, statement by statement.

    The caller decides what one transaction is. `on_step` is called before each statement with how
    many were executed.
    """
    db.create_function("memory_id", 2, id_of, deterministic=True)
    done = 0
    while (version := version_of(db)) < VERSION:
        for statement in _STEPS[version]:
            on_step(done)
            db.execute(statement)
            done += 1
