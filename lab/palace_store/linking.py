"""S1: a drawer to which a replaced vector left no link is looked for, and linked again.

Where a vector is replaced, hnswlib links its neighbours anew and now and then leaves another drawer
without any link: it is listed and its vector is whole, but no search finds it. Every process builds
its graph from the log for itself, 1.x in random order, so what one process finds another may not:
of small collections with replacements in a log that was not flushed, 1 in 500 openings missed a
drawer, without replacements none of 480 (1.0.21 and 1.5.9, 16 dimensions, measured). What is in the
files is read (`readback`); what is only in memory can only be asked for. So after a change that
replaces vectors, and after reading a log that does, drawers are searched by their own vectors, and
written again where that fails.

0.x keeps changes beside its graph until `hnsw:batch_size` of them are there. What waits there is
found, and cuts off others when the graph takes it up: of 400 collections of 30 drawers, 5 of them
replaced, 14 missed one then and none before (0.6.3). So there is looked whenever that has happened.
What is written again waits there as well, and until the graph has it a search for as many drawers
as there are raises RuntimeError. So it is written until the graph has taken it up.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from chromadb.errors import InternalError

from palace_store.anatomy import Vectors
from palace_store.anatomy.size_judgement import LENGTH_END
from palace_store.client import Seat, beside_graph, existing, in_parts, present, queries_in_parts
from palace_store.collection_exchange import may_measure_by
from palace_store.replacements import NEAREST, WHOLE

Vector = npt.NDArray[np.float32]

_ROUNDS = 3
#: How many searches for everything are tried where one may be refused.
_WIDE = 20
_BATCH_SIZE = 100  # chromadb's default of `hnsw:batch_size`
_NO_VECTOR = "Error finding id"  # 1.x, asked for the vector of a drawer that has none
_NAMED_MAX = 1000  # drawers that are looked for only to say that no search finds them
_SAME = 1e-5  # distances up to this are those of equal vectors
_LOG = logging.getLogger(__name__)


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
    unlinked = seat.unlinked.pop(collection, None)
    lost = None if unlinked is None else unlinked.vectors
    replaced = seat.replaced.pop(collection, set())
    suspects = replaced | seat.waiting.pop(collection, set())
    found = existing(seat.client, collection) if lost or suspects else None
    if found is None:
        return False
    if lost is not None:
        _relink(found, lost)
        suspects.update(lost.ids)
    if _cannot_look(seat, found):
        return lost is not None
    batch = beside_graph(seat.client, found)
    if lost is None and batch is not None and batch is seat.batches.get(collection):
        seat.waiting[collection] = suspects  # the graph is as it was when it was looked through
        return False
    written = _look(seat, found, suspects)
    doubtful = seat.unfound.pop(collection, set()) - suspects | written
    if unlinked is not None:
        doubtful.update(unlinked.others[:_NAMED_MAX])
    if doubtful:  # some indexes cannot be helped, as where very many vectors are equal
        seat.unfound[collection] = set(_unfound(found, _vectors(found, sorted(doubtful))).ids)
    batch = seat.batches[collection] = beside_graph(seat.client, found)
    if batch is not None and batch.update_count:
        seat.waiting[collection] = replaced | written
    return bool(written) or lost is not None


def _look(seat: Seat, found: Any, suspects: set[str]) -> set[str]:
    """Write again what no search finds, until all is found; returns the ids of what was written."""
    written: set[str] = set()
    small = found.count() <= WHOLE
    batched = small and beside_graph(seat.client, found) is not None
    batch_size = int((found.metadata or {}).get("hnsw:batch_size", _BATCH_SIZE))
    for _ in range(_ROUNDS + batch_size if batched else _ROUNDS):
        asked = _vectors(found, None if small else sorted(suspects))
        lost = _unfound(found, asked)
        if lost.ids:
            _relink(found, lost)
        elif batched and _refused(found, asked):
            rows = zip(asked.ids, asked.matrix, strict=True)
            lost = _gathered([row for row in rows if row[0] in suspects])
            if not lost.ids:
                break
            _write(found, lost)
        else:
            break
        suspects = suspects.union(lost.ids)
        written.update(lost.ids)
    return written


def _cannot_look(seat: Seat, found: Any) -> bool:
    """Tell whether drawers lack a vector, or are not what is nearest to their own."""
    return seat.lossy or may_measure_by(found, "ip")


def _relink(found: Any, vectors: Vectors) -> None:
    """Write drawers again with the vectors they have, which links them to their neighbours."""
    text = "%d drawers of %r had no link to them in the index and are linked again (first: %r)"
    _LOG.warning(text, len(vectors.ids), found.name, vectors.ids[0])
    _write(found, vectors)


def _write(found: Any, vectors: Vectors) -> None:
    found.update(ids=list(vectors.ids), embeddings=vectors.matrix)


def _refused(found: Any, asked: Vectors) -> bool:
    """Tell whether chromadb 0.x refuses a search for all drawers, as its graph cannot reach all."""
    some = asked.matrix[:: max(len(asked.ids) // _WIDE, 1)]
    count = found.count()
    try:
        for part in queries_in_parts(some, each=count):
            found.query(query_embeddings=part, n_results=count, include=[])
    except RuntimeError:
        return True
    return False


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

    A drawer whose vector is lost has none, and one that a stranger has written meanwhile has none
    for this client. Then 0.6.3 gives the others' vectors to the wrong ids or raises, and 1.x
    raises. Asked for one by one they are right.
    """
    rows: list[tuple[str, Vector]] = []
    for part in [None] if ids is None else in_parts(ids):
        paired = _paired(found, part)
        if paired is None:
            for name in found.get(ids=part, include=[])["ids"]:
                rows += _paired(found, [name]) or []
        else:
            rows += paired
    return _gathered([row for row in rows if _has_length(row[1])])


def _has_length(vector: Vector) -> bool:
    """Tell whether chromadb can compute with a vector that a torn length.bin may have stretched.

    Such a one is found by no search, and written again it would become NaN.
    """
    return bool(np.linalg.norm(np.asarray(vector, dtype=np.float64)) < LENGTH_END)  # NaN is not


def _paired(found: Any, ids: list[str] | None) -> list[tuple[str, Vector]] | None:
    """Return ids with their vectors, None where chromadb cannot say which belongs to which."""
    try:
        answer = found.get(ids=ids, include=["embeddings"])
    except (IndexError, TypeError):  # TypeError: 0.6.3, of which some are in its graph, some beside
        return None
    except InternalError as error:
        if _NO_VECTOR not in str(error):
            raise
        return None
    names, vectors = answer["ids"], answer["embeddings"]
    return list(zip(names, vectors, strict=True)) if len(names) == len(vectors) else None


def _gathered(rows: Sequence[tuple[str, Vector]]) -> Vectors:
    matrix = np.array([vector for _, vector in rows], dtype=np.float32)
    return Vectors(tuple(name for name, _ in rows), matrix)
