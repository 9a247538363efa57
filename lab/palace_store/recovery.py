"""S1: rebuilding a vector index from the log, keeping every vector.

Called by whoever finds the note of a change that never ended. Order, so that a second death at
any point leaves work that can simply be done again (the note stands until the end):
    1. make sure that the log holds a vector for every row
    2. leave of that log one vector for each drawer, where the log is ours
    3. set the segment's directory aside
    4. forget how far the index had read the log
    5. let chromadb read the whole log again
"""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

from palace_store import adoption, trimming
from palace_store.anatomy import AnatomyError, survey
from palace_store.anatomy.records import DELETE
from palace_store.client import Client, names_of
from palace_store.errors import IndexDamagedError
from palace_store.quarantine import REBUILT, TORN, set_aside
from palace_store.retention import database, finish_database
from palace_store.state import names

_LOG = logging.getLogger(__name__)


def rebuild(
    palace: Path, collections: tuple[str, ...], *, retained: bool, salvage: bool = False
) -> list[Path]:
    """Set aside the index of the named collections and make chromadb read their log from its start.

    Returns the directories set aside. Raises `IndexDamagedError`, having changed nothing, if some
    row's vector is in no log: then setting the index aside would lose it. `retained` says that
    the log was never purged; otherwise it is replayed first to see what it would give. With
    `salvage`, what the log lacks all the same is looked for in the files, and an index that may
    have more than could be had is kept for good.
    """
    finish_database(palace)
    if salvage and retained and without_vector(palace, collections):
        adoption.adopt(palace, salvage=True)
    if not retained:
        _refuse_incomplete_log(palace, collections)
    moved: list[Path] = []
    with database(palace) as connection:
        _drop_half_made(connection, collections)
        segments = _vector_segments(connection, collections)
        for _, collection, name in segments:
            missing = _rows_without_log(connection, collection)
            if missing and not salvage:
                raise _damaged(palace, name, f"{len(missing)} vectors (first: {missing[0]!r})")
        for segment, collection, name in segments:
            if retained:
                trimming.trim_for_rebuild(connection, collection, name)
            directory = palace / segment
            if directory.is_dir():
                keep = _rows_without_log(connection, collection) and not any(
                    palace.glob(f"{segment}.{TORN}-*")
                )
                moved.append(set_aside(directory, TORN if keep else REBUILT))
                _LOG.warning("index of %r is rebuilt from the log; old: %s", name, moved[-1])
            connection.execute("DELETE FROM max_seq_id WHERE segment_id = ?", (segment,))
    return moved


def without_vector(palace: Path, collections: tuple[str, ...]) -> list[str]:
    """Return the ids of the collections' rows for which the log holds no vector, sorted."""
    with database(palace) as connection:
        segments = _vector_segments(connection, collections)
        return sorted(
            name for _, ident, _ in segments for name in _rows_without_log(connection, ident)
        )


def catch_up(client: Client, collections: tuple[str, ...]) -> None:
    """Let chromadb read the log into these indexes now, not at a later search."""
    for name in names_of(client):
        if names(collections, name):
            collection = client.get_collection(name, embedding_function=None)
            dimension = dimension_of(collection)
            if dimension is not None:
                # Asked with a query: only that loads the index also where no row is left.
                collection.query(query_embeddings=[[1.0] * dimension], n_results=1, include=[])


def dimension_of(collection: Client) -> int | None:
    """Return a collection's dimension, None before its first vector (the same in 0.5 to 1.5)."""
    found: int | None = collection._model.dimension  # noqa: SLF001  (chromadb has no public way)
    return found


def _refuse_incomplete_log(palace: Path, collections: tuple[str, ...]) -> None:
    try:
        found = survey(palace, deep=False).collections
    except AnatomyError as error:
        raise _damaged(palace, ", ".join(collections), str(error)) from None
    for each in found:
        if names(collections, each.name) and not each.log_complete:
            lost = len(each.rows) - len(each.log_ids)
            raise _damaged(palace, each.name, f"{lost} or more vectors")


def _damaged(palace: Path, name: str, what: str) -> IndexDamagedError:
    return IndexDamagedError(
        f"collection {name!r} of {palace} was left in mid-change and its log does not hold what "
        f"the index would be rebuilt from: {what}; nothing was changed: make a copy of the palace "
        "before anything else opens it, and read the vectors out of the copy"
    )


def _drop_half_made(connection: sqlite3.Connection, collections: tuple[str, ...]) -> None:
    """Remove a collection that a writer was killed making; nothing was ever written to it.

    0.x makes the collection in one transaction and its segments in others, and from then on
    every use of one without segments ends in a KeyError.
    """
    rows = connection.execute(
        "SELECT c.id, c.name FROM named c WHERE 2 > (SELECT count(DISTINCT scope) "
        "FROM segments s WHERE s.collection = c.id AND s.scope IN ('VECTOR', 'METADATA')) "
        "AND NOT EXISTS (SELECT 1 FROM embeddings_queue WHERE topic LIKE '%/' || c.id)"
    ).fetchall()
    for collection, name in rows:
        if names(collections, name):
            mine = "SELECT id FROM segments WHERE collection = ?"
            for statement in (
                f"DELETE FROM segment_metadata WHERE segment_id IN ({mine})",  # noqa: S608 (ours)
                "DELETE FROM segments WHERE collection = ?",
                "DELETE FROM collection_metadata WHERE collection_id = ?",
                "DELETE FROM collections WHERE id = ?",
            ):
                connection.execute(statement, (collection,))
            _LOG.warning("collection %r was never finished being made; removed", name)


def _vector_segments(
    connection: sqlite3.Connection, collections: tuple[str, ...]
) -> list[tuple[str, str, str]]:
    rows = connection.execute(
        "SELECT s.id, c.id, c.name FROM segments s JOIN named c ON s.collection = c.id "
        "WHERE s.scope = 'VECTOR' ORDER BY c.name"
    ).fetchall()
    return [row for row in rows if names(collections, row[2])]


def _rows_without_log(connection: sqlite3.Connection, collection: str) -> list[str]:
    """Return the ids of rows whose vector no record of the log holds, or none since a deletion."""
    rows = connection.execute(
        "SELECT e.embedding_id FROM embeddings e JOIN segments s ON e.segment_id = s.id "
        "WHERE s.collection = ? AND e.embedding_id NOT IN (SELECT id FROM embeddings_queue "
        "WHERE topic LIKE '%/' || ? GROUP BY id "
        "HAVING max(CASE WHEN vector IS NULL THEN -1 ELSE seq_id END) "
        "> max(CASE operation WHEN ? THEN seq_id ELSE -1 END)) ORDER BY e.id",
        (collection, collection, DELETE),
    ).fetchall()
    return [str(row[0]) for row in rows]
