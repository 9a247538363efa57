"""Whether a newer library made the knowledge graph or the memories of a palace; leaves no trace.

What was written last may stand in the log only, and SQLite cannot read one without a change beside
it: so both are read in a copy. A file that cannot be read says nothing here: opening it does.
"""

from __future__ import annotations

from pathlib import Path

from palace_store.anatomy.database_file import open_database
from palace_store.anatomy.findings import AnatomyError
from palace_store.errors import PalaceError
from palace_store.file_shape import newer_than_known
from palace_store.local import schema
from palace_store.local.connection import FILE
from palace_store.triple_file import SCHEMA_VERSION, KnowledgeError

_KNOWN: tuple[tuple[str, int, type[PalaceError]], ...] = (
    ("knowledge.sqlite3", SCHEMA_VERSION, KnowledgeError),
    (FILE, schema.VERSION, schema.MemoryFileError),
)


def refuse_newer(palace: Path) -> None:
    """Raise what opening would raise for a file with a schema newer than this library knows."""
    for name, known, refusal in _KNOWN:
        path = palace / name
        version = _version(path)
        if version > known:
            raise refusal(newer_than_known(path, version, known))


def _version(path: Path) -> int:
    """Return the schema version of a file; 0 where there is none, or it cannot be told."""
    try:
        with open_database(path) as db:
            return int(db.execute("PRAGMA user_version").fetchone()[0])
    except AnatomyError:
        return 0
