"""What a file of SQLite says that it is: its schema's number and its tables, held against ours.

A file of another program is refused by this before anything of it is changed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field

Tables = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Shape:
    """The number in `user_version`, and each table with the names of its columns."""

    version: int
    tables: Tables


@dataclass(frozen=True)
class Schema:
    """The tables a file has, by the number of its schema.

    `begun` are those that one without a number may have, where not all of them came at once.
    """

    versions: Mapping[int, Tables]
    begun: Tables = field(default_factory=dict)

    @property
    def newest(self) -> int:
        """Return the number of the newest schema."""
        return max(self.versions)

    def newer(self, shape: Shape) -> bool:
        """Tell whether a file is of a schema that is not known here."""
        return shape.version > self.newest

    def strange(self, shape: Shape) -> str | None:
        """Return what of a file that is not newer cannot be ours, in words; None if all can be."""
        wanted = self.versions.get(shape.version)
        if wanted is None and shape.version:
            return f"there is no schema {shape.version}"
        known = self.begun if wanted is None else wanted
        for name in wanted or ():
            if name not in shape.tables:
                return f"it has schema {shape.version} and no table {name}"
        for name, columns in shape.tables.items():
            if name in known and columns != known[name]:
                return f"its table {name} has the columns {', '.join(sorted(columns))}"
            if name not in known and wanted is None:
                return f"it has a table {name} and no schema"
        return None


def newer_than_known(path: object, version: int, known: int) -> str:
    """Return the sentence that refuses a file whose schema is newer than this library knows."""
    return (
        f"{path} has schema {version}, this library knows {known}: upgrade palace-lab in this "
        "environment"
    )


def shape_of(db: sqlite3.Connection) -> Shape:
    """Return what a file is at one moment: a peer that makes it makes number and tables at once."""
    alone = not db.in_transaction
    if alone:
        db.execute("BEGIN")
    try:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        listed = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        tables = {}
        for (name,) in listed:
            if not name.startswith("sqlite_"):  # SQLite's own
                columns = db.execute("SELECT name FROM pragma_table_info(?)", (name,))
                tables[name] = frozenset(column for (column,) in columns)
        return Shape(version, tables)
    finally:
        if alone and db.in_transaction:
            db.execute("ROLLBACK")
