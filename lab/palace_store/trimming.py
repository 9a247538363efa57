"""S1: under retention the log loses what later records supersede, and nothing else.

A rebuild needs one vector of each drawer: the last one written. What goes is
    - of a collection whose log holds the vector of every row,
    - below both its watermarks, so that nobody but a rebuild would ever read it again,
    - a record after which the log still replays to the same vectors, unless a row has its number:
      without it nothing tells that change from one that was lost.
What stays is thus itself the copy that an index is rebuilt from, in one committed, synced file; no
copy of the index could be smaller. A log has then one record for each drawer, a second where its
metadata alone were changed since, and those its index has not been written with, fewer than
`sync_threshold` and a batch.

Runs alone in the palace, before any client, when the database has grown to twice what it needed
after the last time (`SLACK_BYTES` more for a small one): the work stays in proportion to what is
written. One transaction, so that a death at any point leaves work that is simply done again.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from palace_store.anatomy.records import DELETE, UPDATE, UPSERT, LogRecord, decode_seq_id
from palace_store.anatomy.replay import apply_to_rows
from palace_store.retention import connected, database

_LOG = logging.getLogger(__name__)
#: What any database may grow by before it is looked at: 4,000 records of 384 dimensions.
SLACK_BYTES = 8 << 20


def due(palace: Path, trim_at: int) -> bool:
    """Tell whether the database has outgrown what the last trim allowed it, in bytes."""
    return (palace / "chroma.sqlite3").stat().st_size > max(trim_at, SLACK_BYTES)


def trim(palace: Path) -> int:
    """Trim the log of each collection; return at which size, in bytes, to do it again.

    A failure, be it a full disk, changes nothing and is only logged: the palace is whole without.
    """
    try:
        with database(palace) as connection:
            for collection, name, below in _collections(connection, "VECTOR", "METADATA"):
                _trim(connection, collection, name, below)
            used, size = _weigh(connection)
        if size > 3 * used + SLACK_BYTES:
            with connected(palace) as connection:
                connection.execute("VACUUM")
                used, size = _weigh(connection)
    except sqlite3.Error as error:
        _LOG.warning("the log of %s was not trimmed, and will be later: %s", palace, error)
        return (palace / "chroma.sqlite3").stat().st_size + SLACK_BYTES
    return max(size, 2 * used + SLACK_BYTES)


def needed(log: Sequence[LogRecord]) -> dict[str, int]:
    """Return id → number of the record that gives its vector when the log is read from nothing."""
    telling = [each for each in log if each.vector_bytes or each.operation == DELETE]
    return apply_to_rows({}, telling, -1)


def superseded(log: Sequence[LogRecord], rows: Mapping[str, int | None]) -> set[int]:
    """Return the numbers that no row has, and without which the log gives the same vectors."""
    return {each.seq_id for each in log} - set(needed(log).values()) - set(rows.values())


def trim_for_rebuild(connection: sqlite3.Connection, collection: str, name: str) -> None:
    """Leave of a log that an index is about to be rebuilt from one vector for each drawer.

    Where a batch replaces a vector, chromadb 1.x inserts in random order and links the neighbours
    anew; now and then that leaves another drawer without any link to it, so that no search finds
    it: after 42 of 1,712 rebuilds from a log with 14 replacements in 130 records, after none of
    2,177 from the same log once it was trimmed like this (1.5.9, 16 dimensions, measured).
    """
    below = [mark for found, _, mark in _collections(connection, "METADATA") if found == collection]
    _trim(connection, collection, name, *below or [0])


def _trim(connection: sqlite3.Connection, collection: str, name: str, below: int) -> None:
    log = _read(connection, collection)
    rows = _rows(connection, collection)
    missing = rows.keys() - needed(log).keys()
    if missing:
        text = "the log of %r lacks %d vectors (first: %r) and is not trimmed"
        _LOG.warning(text, name, len(missing), min(missing))
        return
    # The last number ever given must stay: chromadb gives the next one from what is there.
    old = [each for each in log if each.seq_id < min(below, _last(connection))]
    gone = superseded(old, rows)
    connection.executemany(
        "DELETE FROM embeddings_queue WHERE seq_id = ?", [(number,) for number in sorted(gone)]
    )
    # An update counts only where an insertion came before it, which is gone.
    updates = [
        each.seq_id
        for each in old
        if each.operation == UPDATE and each.vector_bytes and each.seq_id not in gone
    ]
    connection.executemany(
        "UPDATE embeddings_queue SET operation = ? WHERE seq_id = ?",
        [(UPSERT, number) for number in updates],
    )


def _collections(connection: sqlite3.Connection, *scopes: str) -> list[tuple[str, str, int]]:
    """Return id, name, and the lowest watermark, of collections that have one of each scope."""
    marks: dict[tuple[str, str], list[int]] = {}
    for collection, name, scope, mark in connection.execute(
        "SELECT c.id, c.name, s.scope, m.seq_id FROM named c "
        "JOIN segments s ON s.collection = c.id JOIN max_seq_id m ON m.segment_id = s.id"
    ):
        if scope in scopes and (read := decode_seq_id(mark)) is not None:
            marks.setdefault((collection, name), []).append(read)
    return [(*key, min(found)) for key, found in marks.items() if len(found) == len(scopes)]


def _read(connection: sqlite3.Connection, collection: str) -> list[LogRecord]:
    """Return a collection's log, vectors left where they are."""
    rows = connection.execute(
        "SELECT seq_id, operation, id, NULL, ifnull(length(vector), 0), encoding "
        "FROM embeddings_queue WHERE topic LIKE '%/' || ? ORDER BY seq_id",
        (collection,),
    )
    return [LogRecord(*row) for row in rows]


def _rows(connection: sqlite3.Connection, collection: str) -> dict[str, int | None]:
    """Return id → number of its last change."""
    rows = connection.execute(
        "SELECT e.embedding_id, e.seq_id FROM embeddings e JOIN segments s ON e.segment_id = s.id "
        "WHERE s.collection = ?",
        (collection,),
    )
    return {str(name): decode_seq_id(stored) for name, stored in rows}


def _last(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT max(seq_id) FROM embeddings_queue").fetchone()[0])


def _weigh(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return how many bytes of the database are in use, and how many it has."""
    page, pages, free = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_size", "page_count", "freelist_count")
    )
    return page * (pages - free), page * pages
