"""S1: a drawer to which a replaced vector left no link is looked for, and linked again.

Where a vector is replaced, hnswlib links its neighbours anew and now and then leaves another drawer
without any link: it is listed and its vector is whole, but no search finds it. Every process builds
its graph from the log for itself, 1.x in random order, so what one process finds another may not:
of small collections with replacements in a log that was not flushed, 1 in 500 openings missed a
drawer, without replacements none of 480 (1.0.21 and 1.5.9, 16 dimensions, measured). What is in the
files is read (`readback`); what is only in memory can only be asked for. So after a change that
replaces vectors, and after reading a log that does, drawers are searched by their own vectors, and
written again where that fails.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from palace_store.anatomy import Vectors
from palace_store.anatomy.records import UPDATE, UPSERT, LogRecord, decode_seq_id
from palace_store.anatomy.replay import decode_vector
from palace_store.client import Seat, existing, in_parts, present, queries_in_parts
from palace_store.retention import database

Vector = npt.NDArray[np.float32]

#: A collection of up to so many drawers is looked through whole.
WHOLE = 400
#: In a larger one: what was replaced, and so many of the nearest to where each was before. Of 22
#: drawers that were cut off in collections of 200 and 1,000 none was farther than the seventh.
NEAREST = 10
#: Of a log that was read: the nearest to so many that were replaced last.
_PLACES = 200
_ROUNDS = 3
_SAME = 1e-5  # distances up to this are those of equal vectors
_MINE = "FROM embeddings_queue WHERE topic LIKE '%/' || ? AND vector IS NOT NULL"
_LOG = logging.getLogger(__name__)


def replaced_in_log(palace: Path) -> dict[str, set[str]]:
    """Return for each collection whom the log above its index may cut off, if anybody.

    No client may be open. Reads the whole log of a collection in which vectors are replaced.
    """
    with database(palace) as connection:
        rows = connection.execute(
            "SELECT c.id, c.name, c.dimension, m.seq_id, d.str_value FROM collections c "
            "JOIN segments s ON s.collection = c.id AND s.scope = 'VECTOR' "
            "LEFT JOIN max_seq_id m ON m.segment_id = s.id "
            "LEFT JOIN collection_metadata d ON d.collection_id = c.id AND d.key = 'hnsw:space'"
        ).fetchall()
        found = {
            name: _replaced(
                connection, ident, dimension, decode_seq_id(mark) or -1, unit=space == "cosine"
            )
            for ident, name, dimension, mark, space in rows
            if dimension and space != "ip"
        }
    return {name: ids for name, ids in found.items() if ids}


def before(seat: Seat, collection: str, ids: Sequence[str]) -> None:
    """Remember whom a change of the vectors of these drawers may cut off, for `after`.

    Asked before it, while they are still found.
    """
    found = existing(seat.client, collection) if ids else None
    known = sorted(present(found, ids)) if found is not None else []
    if found is None or not known or _cannot_look(seat, found):
        return
    suspects = seat.replaced.setdefault(collection, set())
    suspects.update(known)
    if found.count() > WHOLE:
        for part in queries_in_parts(_vectors(found, known).matrix, each=NEAREST):
            for near in found.query(query_embeddings=part, n_results=NEAREST, include=[])["ids"]:
                suspects.update(near)


def after(seat: Seat, collection: str) -> bool:
    """Bring back what no search finds; returns whether anything was written.

    That is what the files were seen to have no link to (`readback`), and what was cut off by the
    vectors that were replaced since.
    """
    lost = seat.unlinked.pop(collection, None)
    suspects = seat.replaced.pop(collection, None)
    found = existing(seat.client, collection) if lost or suspects else None
    if found is None:
        return False
    if lost is not None:
        _relink(found, lost)
    if suspects is None or _cannot_look(seat, found):
        return lost is not None
    ids = None if found.count() <= WHOLE else sorted(suspects)
    for round_ in range(_ROUNDS):
        unfound = _unfound(found, _vectors(found, ids))
        if not unfound.ids:
            return lost is not None or round_ > 0
        _relink(found, unfound)
    return True


def _cannot_look(seat: Seat, found: Any) -> bool:
    """Tell whether drawers lack a vector, or are not what is nearest to their own."""
    return seat.lossy or (found.metadata or {}).get("hnsw:space") == "ip"


def _relink(found: Any, vectors: Vectors) -> None:
    """Write drawers again with the vectors they have, which links them to their neighbours."""
    text = "%d drawers of %r had no link to them in the index and are linked again (first: %r)"
    _LOG.warning(text, len(vectors.ids), found.name, vectors.ids[0])
    found.update(ids=list(vectors.ids), embeddings=vectors.matrix)


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
        matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), _SAME)
    squares = (matrix * matrix).sum(axis=1)
    found: set[str] = set()
    for place in places:
        toward = place / max(float(np.linalg.norm(place)), _SAME) if unit else place
        near = np.argpartition(squares - 2 * (matrix @ toward), NEAREST)[:NEAREST]
        found.update(names[number] for number in near)
    return found


def _unfound(found: Any, asked: Vectors) -> Vectors:
    """Return those that a search by their own vector does not find."""
    ids: list[list[str]] = []
    distances: list[list[float]] = []
    for part in queries_in_parts(asked.matrix, each=1):
        answer = found.query(query_embeddings=part, n_results=1, include=["distances"])
        ids += answer["ids"]
        distances += answer["distances"]
    rows = zip(asked.ids, asked.matrix, ids, distances, strict=True)
    return _gathered(
        [
            (name, vector)
            for name, vector, near, far in rows
            # Of several that are equal any may be the answer.
            if name not in near and not any(distance <= _SAME for distance in far)
        ]
    )


def _vectors(found: Any, ids: Sequence[str] | None) -> Vectors:
    """Return the vectors a collection has of these drawers, or of all.

    A drawer that a stranger has written meanwhile has none for this client, and then 0.6.3 gives
    the others' vectors to the wrong ids, 1.5.9 raises. Asked for one by one they are right.
    """
    rows: list[tuple[str, Vector]] = []
    for part in [None] if ids is None else in_parts(ids):
        paired = _paired(found, part)
        if paired is None:
            for name in found.get(ids=part, include=[])["ids"]:
                rows += _paired(found, [name]) or []
        else:
            rows += paired
    return _gathered(rows)


def _paired(found: Any, ids: list[str] | None) -> list[tuple[str, Vector]] | None:
    """Return ids with their vectors, None where chromadb cannot say which belongs to which."""
    try:
        answer = found.get(ids=ids, include=["embeddings"])
    except IndexError:
        return None
    names, vectors = answer["ids"], answer["embeddings"]
    return list(zip(names, vectors, strict=True)) if len(names) == len(vectors) else None


def _gathered(rows: Sequence[tuple[str, Vector]]) -> Vectors:
    matrix = np.array([vector for _, vector in rows], dtype=np.float32)
    return Vectors(tuple(name for name, _ in rows), matrix)
