"""S0: watermarks that no release can go on from are put right, as often as they appear.

A watermark (`max_seq_id`) says how far a segment has read the log. An old process that outlived an
upgrade writes it as a BLOB where newer releases keep an INTEGER, and the next process dies of it;
one beyond the log makes chromadb pass over every change it acknowledges from then on; without one
0.5 and 0.6 open no index (AttributeError), and with one of 0 they pass over the next change, taking
0 for none. Looked at before every client, with no mark that says "done once": the old process may
still be alive.

Rules. A number that can be true is kept and only given the type this schema has. In place of one
that cannot, rows get the number of their last change, since they are changed in the order of the
log and with the watermark; an index starts again at what the log still has, which gives the same
vectors. Where the log has been emptied, its numbers go on above every watermark.
"""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from palace_store.anatomy import AnatomyError
from palace_store.anatomy.hnsw_files import PICKLE
from palace_store.anatomy.records import DELETE, decode_seq_id
from palace_store.anatomy.safe_pickle import read_index_pickle
from palace_store.retention import database, finish_database

_LOG = logging.getLogger(__name__)
_SEQ_ID_BYTES = 8


@dataclass(frozen=True)
class _Mark:
    segment: str
    scope: str | None  # None: its collection is gone
    collection: str | None
    name: str
    stored: object

    @property
    def value(self) -> int:
        found = decode_seq_id(self.stored)
        return -1 if found is None else found

    def sound(self, *, integer: bool) -> bool:
        """Tell whether it is stored as this schema has it: an integer, or eight bytes."""
        if integer:
            return isinstance(self.stored, int)
        return isinstance(self.stored, bytes) and len(self.stored) == _SEQ_ID_BYTES


def heal(palace: Path) -> tuple[str, ...]:
    """Put every watermark right; return the collections whose index had an impossible one."""
    doubtful = set()
    finish_database(palace)
    with database(palace) as connection:
        integer = are_integers(connection)
        last = connection.execute("SELECT max(seq_id) FROM embeddings_queue").fetchone()[0] or 0
        marks = [
            _Mark(*row)
            for row in connection.execute(
                "SELECT m.segment_id, s.scope, s.collection, coalesce(c.name, ''), m.seq_id "
                "FROM max_seq_id m LEFT JOIN segments s ON s.id = m.segment_id "
                "LEFT JOIN named c ON c.id = s.collection ORDER BY s.scope"
            )
        ]
        lowest = 0 if integer else 1
        top, missing = last, _missing(connection, palace)
        if missing or not all(0 <= mark.value <= last for mark in marks):
            top = max(last, _highest_row(connection))
            _go_on_above(connection, top, last)
        for mark in marks:
            believed = lowest <= mark.value <= top
            if believed and mark.sound(integer=integer):
                continue
            value = mark.value if believed else _read_so_far(connection, mark)
            _LOG.warning(
                "%s: the %s watermark of %r was %r, now %d",
                palace, mark.scope, mark.name, mark.stored, value,
            )  # fmt: skip
            write(connection, mark.segment, value if value >= lowest else None)
            if not believed and mark.scope == "VECTOR":
                doubtful.add(mark.name)
        for mark in missing:
            value = _read_so_far(connection, mark)
            if value < lowest:
                doubtful.add(mark.name)
                continue
            _LOG.warning(
                "%s: the %s watermark of %r was missing, now %d",
                palace, mark.scope, mark.name, value,
            )  # fmt: skip
            write(connection, mark.segment, value)
    return tuple(sorted(doubtful))


def are_integers(connection: sqlite3.Connection) -> bool:
    """Tell whether this schema keeps watermarks as integers, and not as eight bytes."""
    (declared,) = connection.execute(
        "SELECT upper(type) FROM pragma_table_info('max_seq_id') WHERE name = 'seq_id'"
    ).fetchone() or ("",)
    return "INT" in declared


def write(connection: sqlite3.Connection, segment: str, value: int | None) -> None:
    """Set the watermark of a segment as the schema keeps it, or take it away."""
    connection.execute("DELETE FROM max_seq_id WHERE segment_id = ?", (segment,))
    if value is not None:
        kept = value if are_integers(connection) else value.to_bytes(_SEQ_ID_BYTES, "big")
        connection.execute("INSERT INTO max_seq_id VALUES (?, ?)", (segment, kept))


def _missing(connection: sqlite3.Connection, palace: Path) -> list[_Mark]:
    """Return the segments that have read the log and have no watermark, as if it were NULL."""
    rows = connection.execute(
        "SELECT s.id, s.scope, s.collection, c.name, NULL FROM segments s "
        "JOIN named c ON c.id = s.collection "
        "WHERE s.id NOT IN (SELECT segment_id FROM max_seq_id) ORDER BY s.scope"
    )
    return [mark for mark in (_Mark(*row) for row in rows) if _has_read(connection, palace, mark)]


def _has_read(connection: sqlite3.Connection, palace: Path, mark: _Mark) -> bool:
    if mark.scope != "VECTOR":
        return _highest_row(connection, mark.segment) > 0
    try:
        index = read_index_pickle(palace / mark.segment / PICKLE)
    except AnatomyError:
        return False  # never written, or to be made anew
    return index.max_seq_id is None  # 0.4 and 0.5 keep it there


def _highest_row(connection: sqlite3.Connection, segment: str | None = None) -> int:
    """Return the highest number of a last change, stored in either type; 0 without rows."""
    rows = connection.execute(
        "SELECT max(seq_id) FROM embeddings WHERE ? IN (segment_id, '') GROUP BY typeof(seq_id)",
        (segment or "",),
    )
    return max((decode_seq_id(row[0]) or 0 for row in rows), default=0)


def _read_so_far(connection: sqlite3.Connection, mark: _Mark) -> int:
    """Return a number up to which this segment has surely read the log."""
    if mark.scope != "VECTOR":
        return _highest_row(connection, mark.segment)
    first = connection.execute(
        "SELECT min(seq_id) FROM embeddings_queue WHERE topic LIKE '%/' || ?", (mark.collection,)
    ).fetchone()[0]
    if first is not None:
        return int(first) - 1
    rows = connection.execute(
        "SELECT id FROM segments WHERE collection = ? AND scope = 'METADATA'", (mark.collection,)
    ).fetchone()
    return 0 if rows is None else _highest_row(connection, rows[0])


def _go_on_above(connection: sqlite3.Connection, top: int, last: int) -> None:
    """Let the log's numbers be above `top`: also of records no segment has read for that reason.

    What rows show to have been read stays: read again, a log that has lost its end would take
    rows back to what they were, or away.
    """
    if top > last:
        connection.execute(
            "UPDATE embeddings_queue SET seq_id = seq_id + ? WHERE seq_id > ?",
            (top, _last_read(connection)),
        )
        connection.execute(
            "INSERT OR IGNORE INTO embeddings_queue (seq_id, operation, topic, id) "
            "VALUES (?, ?, 'persistent://default/default/none', '')",
            (top, DELETE),
        )


def _last_read(connection: sqlite3.Connection) -> int:
    """Return the highest number that a record of the log shares with its row; 0 if none does."""
    rows = {
        (collection, name): decode_seq_id(stored)
        for collection, name, stored in connection.execute(
            "SELECT s.collection, e.embedding_id, e.seq_id FROM embeddings e "
            "JOIN segments s ON s.id = e.segment_id"
        )
    }
    for number, topic, name in connection.execute(
        "SELECT seq_id, topic, id FROM embeddings_queue ORDER BY seq_id DESC"
    ):
        if rows.get((str(topic).rpartition("/")[2], name)) == number:
            return int(number)
    return 0
