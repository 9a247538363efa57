"""S1: of whom the log above an index says that replaced vectors may have cut them off.

Read before a client is opened; `linking` looks for them when it has the graph.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from palace_store.anatomy.records import UPDATE, UPSERT, LogRecord, decode_seq_id
from palace_store.anatomy.replay import decode_vector
from palace_store.anatomy.settings import index_settings
from palace_store.retention import database
from palace_store.state import of_default

Vector = npt.NDArray[np.float32]

#: A collection of up to so many drawers is looked through whole.
WHOLE = 400
#: In a larger one: what was replaced, and so many of the nearest to where each was before. Of 22
#: drawers that were cut off in collections of 200 and 1,000 none was farther than the seventh.
NEAREST = 10
#: Of a log that was read: the nearest to so many that were replaced last.
_PLACES = 200
_ALIKE = 1e-5  # the least length of a vector that is divided by it
_MINE = "FROM embeddings_queue WHERE topic LIKE '%/' || ? AND vector IS NOT NULL"


def replaced_in_log(palace: Path) -> dict[str, set[str]]:
    """Return for each collection whom the log above its index may cut off, if anybody.

    No client may be open. Reads the whole log of a collection in which vectors are replaced.
    """
    with database(palace) as connection:
        rows = connection.execute(
            "SELECT c.id, c.name, c.dimension, m.seq_id FROM named c "
            "JOIN segments s ON s.collection = c.id AND s.scope = 'VECTOR' "
            "LEFT JOIN max_seq_id m ON m.segment_id = s.id"
        ).fetchall()
        spaces = _spaces(connection)
        found = {
            name: _replaced(
                connection,
                ident,
                dimension,
                decode_seq_id(mark) or -1,
                unit=spaces[ident] == "cosine",
            )
            for ident, name, dimension, mark in rows
            if dimension and spaces[ident] != "ip" and of_default(name)
        }
    return {name: ids for name, ids in found.items() if ids}


def _spaces(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the distance that each collection computes with, by its id."""
    have = {row[1] for row in connection.execute("PRAGMA table_info(collections)")}
    said = ("config_json_str", "schema_str")
    picked = ", ".join(f"c.{name}" if name in have else "NULL" for name in said)
    settings = index_settings(
        connection.execute(
            "SELECT collection_id, key, str_value, int_value FROM collection_metadata"
        ),
        connection.execute("SELECT segment_id, key, str_value, int_value FROM segment_metadata"),
    )
    rows = connection.execute(
        f"SELECT c.id, s.id, {picked} FROM collections c "  # noqa: S608  (names of this function)
        "JOIN segments s ON s.collection = c.id AND s.scope = 'VECTOR'"
    )
    return {row[0]: settings(*row).space for row in rows}


def _replaced(
    connection: sqlite3.Connection, ident: str, dimension: int, below: int, *, unit: bool
) -> set[str]:
    written = connection.execute(
        f"SELECT DISTINCT id {_MINE} AND seq_id > ? AND operation IN (?, ?)",
        (ident, below, UPDATE, UPSERT),
    )
    names = {str(row[0]) for row in written}
    if not names:
        return set()
    last: dict[str, int] = {}  # id → number of the record with its vector
    gone: dict[str, int] = {}  # the same, of the vector that was replaced
    query = f"SELECT seq_id, id {_MINE} ORDER BY seq_id"
    for seq_id, name in connection.execute(query, (ident,)):
        if name in names and name in last and seq_id > below:
            gone[name] = last[name]
        last[name] = seq_id
    if not gone or len(last) <= WHOLE:
        return set(gone)
    places = set(list(gone.values())[-_PLACES:])
    vectors = _logged(connection, ident, dimension, {*last.values(), *places})
    there = {name: vectors[number] for name, number in last.items() if number in vectors}
    where = [vectors[number] for number in places if number in vectors]
    return set(gone) | _nearest(there, where, unit=unit)


def _logged(
    connection: sqlite3.Connection, ident: str, dimension: int, wanted: set[int]
) -> dict[int, Vector]:
    """Return the vectors of these records by their numbers, without any that cannot be read."""
    found: dict[int, Vector] = {}
    query = f"SELECT seq_id, operation, id, vector, length(vector), encoding {_MINE}"
    for row in connection.execute(query, (ident,)):
        if row[0] in wanted:
            vector = decode_vector(LogRecord(*row), dimension)
            if vector is not None:
                found[row[0]] = vector
    return found


def _nearest(vectors: dict[str, Vector], places: Sequence[Vector], *, unit: bool) -> set[str]:
    """Return the ids of the vectors that are nearest to each of these places."""
    names, matrix = list(vectors), np.array(list(vectors.values()))
    if unit:
        matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), _ALIKE)
    squares = (matrix * matrix).sum(axis=1)
    found: set[str] = set()
    for place in places:
        toward = place / max(float(np.linalg.norm(place)), _ALIKE) if unit else place
        near = np.argpartition(squares - 2 * (matrix @ toward), NEAREST)[:NEAREST]
        found.update(names[number] for number in near)
    return found
