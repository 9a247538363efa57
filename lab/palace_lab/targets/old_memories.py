"""Memory files of schema versions 1 and 2, as the library wrote them then; and what they held."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

_TABLES = {
    1: """CREATE TABLE memories (id INTEGER PRIMARY KEY AUTOINCREMENT, content TEXT NOT NULL,
        created TEXT NOT NULL)""",
    2: """CREATE TABLE memories (id INTEGER PRIMARY KEY AUTOINCREMENT, content TEXT NOT NULL,
        created TEXT NOT NULL, namespace TEXT NOT NULL DEFAULT 'default',
        metadata TEXT NOT NULL DEFAULT '{}', remote_id INTEGER)""",
}
_CREATED = "2025-01-01T00:00:00+00:00"


def make_old(path: Path, version: int, contents: Iterable[str]) -> None:
    """Make a new file of that schema version that holds these memories; not one that is there."""
    if version not in _TABLES:
        raise ValueError(f"there is no old schema version {version}; there are 1 and 2")
    if path.exists():
        raise ValueError(f"{path} is there already: an old file has to come first")
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("BEGIN")
        db.execute(_TABLES[version])
        rows = [(content, _CREATED) for content in contents]
        db.executemany("INSERT INTO memories (content, created) VALUES (?, ?)", rows)
        db.execute(f"PRAGMA user_version = {version}")
        db.execute("COMMIT")
