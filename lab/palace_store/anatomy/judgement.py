"""Turns what a collection's files say into findings.

Rules. Each judge looks for one contradiction and yields nothing for a healthy collection. A state
that chromadb itself repairs at the next open is no contradiction: rows or an index behind the log,
an index that was initialised but never persisted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from palace_store.anatomy.collection_survey import CollectionSurvey
from palace_store.anatomy.findings import Finding, Severity, found
from palace_store.anatomy.records import Tables, is_segment_id
from palace_store.anatomy.replay import IN_INDEX, decode_vector, unreadable
from palace_store.anatomy.size_judgement import dimensions, lengths
from palace_store.anatomy.watermark_judgement import watermarks

#: Two float32 copies of one vector, normalised and restored, differ by less than this times its
#: length (measured: 2e-7 at 16 dimensions).
_TOLERANCE = 1e-4

#: Vectors compared at a time: 25 MB of 384 dimensions.
_BLOCK = 4096


def judge(tables: Tables, each: CollectionSurvey, *, deep: bool = True) -> list[Finding]:
    """Return every contradiction in one collection. `deep` also compares index and log vectors."""
    judges = [
        watermarks(tables, each),
        _files(each),
        dimensions(tables, each),
        lengths(each),
        _log(each),
        _answers(tables, each),
    ]
    if deep:
        judges += [_vectors(each), _reach(each)]
    if each.segment is not None:
        judges.insert(0, iter(each.segment.findings))
        judges.insert(1, _labels(each))
    return [_of(each, finding) for one in judges for finding in one]


def lost(each: CollectionSurvey) -> list[Finding]:
    """Return what is to be said of vectors no file surely holds, once all were looked through."""
    gone, unsure, n = each.unrecoverable, each.doubtful, len(each.rows)
    text = f"{len(gone)} of {n} rows have a vector in no file that can be read"
    of_index = (
        f"{len(unsure)} of {n} rows have their vector in an index alone that may give it for "
        "another row's, so a mended copy leaves these out"
    )
    found_now = [
        *(found("unrecoverable", "damage", text, gone) if gone else ()),
        *(found("vectors-doubtful", "damage", of_index, unsure) if unsure else ()),
    ]
    return [_of(each, finding) for finding in found_now]


def _of(each: CollectionSurvey, finding: Finding) -> Finding:
    return replace(finding, collection=each.name, sentence=f"{each.name}: {finding.sentence}")


def _files(each: CollectionSurvey) -> Iterator[Finding]:
    name = each.collection.vector_segment
    if name is not None and not is_segment_id(name):
        yield from found("segment-name", "damage", f"segment id {ascii(name)[:60]} is no UUID")
        return
    segment, mark = each.segment, each.vector_watermark
    if segment is None:
        return
    if mark is not None and not segment.files:
        text = f"the vector watermark is {mark.value}, but segment {name} has no index files"
        yield from found("segment-missing", "damage", text)
    elif segment.files and "index_metadata.pickle" not in segment.files:
        elements = segment.header.cur_count if segment.header is not None else 0
        if mark is not None or elements:
            text = f"segment {name} has no index_metadata.pickle for its {elements} elements"
            severity: Severity = "warning" if mark is None else "damage"
            yield from found("pickle-missing", severity, text)
    if segment.index is not None and segment.index.trailing_bytes:
        # 0.x reads past them, 1.x opens no such index.
        text = f"{segment.index.trailing_bytes} bytes follow the end of segment {name}'s pickle"
        yield from found("pickle-torn", "damage", text)


def _labels(each: CollectionSurvey) -> Iterator[Finding]:
    segment = each.segment
    if segment is None or segment.index is None or segment.header is None:
        return
    index, alive = segment.index, segment.labels[~segment.deleted].tolist()
    if len(set(segment.labels.tolist())) < len(segment.labels):
        yield from found("count-mismatch", "damage", "two elements of the index share a label")
    extra = set(alive) - set(index.label_to_id)
    if extra:
        # 0.x does this by itself when an id is deleted, added and deleted within one batch.
        text = f"{len(extra)} live elements of the index are unknown to the pickle"
        yield from found("element-unknown", "damage", text)
    lost = tuple(name for name in index.id_to_label if name not in segment.located)
    if lost:
        text = f"{len(lost)} ids of the pickle have no live element in the index"
        yield from found("count-mismatch", "damage", text, lost)
    crossed = len(index.id_to_label) != len(index.label_to_id) or any(
        index.label_to_id.get(label) != name for name, label in index.id_to_label.items()
    )
    if crossed:
        yield from found("count-mismatch", "damage", "the pickle's two maps contradict each other")
    if max(index.label_to_id, default=0) > index.total_elements_added:
        text = f"labels go beyond the {index.total_elements_added} elements the pickle counts"
        yield from found("count-mismatch", "damage", text)


def _log(each: CollectionSurvey) -> Iterator[Finding]:
    log, start = each.collection.log, each.vector_start
    broken = unreadable(log, each.dimension)
    if broken:
        ids = tuple(dict.fromkeys(record.id for record in broken))
        severity: Severity = "damage" if broken[-1].seq_id > start else "warning"
        text = f"{len(broken)} log records from number {broken[0].seq_id} on cannot be applied"
        yield from found("log-unreadable", severity, text, ids)
    gone = each.changes_lost
    if gone:
        text = f"{len(gone)} rows changed above vector watermark {start}, the log lacks the change"
        yield from found("log-gap", "damage", text, gone)


def _answers(tables: Tables, each: CollectionSurvey) -> Iterator[Finding]:
    missing, extra = each.missing_from_index, each.index_only
    overlooked = each.overlooked
    if overlooked:
        text = (
            f"the index was written up to {each.vector_start} and does not know {len(overlooked)} "
            "rows below that: more than one process wrote it, so that its vectors may belong to "
            "other ids, or it was begun anew"
        )
        yield from found("index-drift", "damage", text, overlooked)
    if missing:
        text = f"{len(missing)} of {len(each.rows)} rows are not findable through the index"
        yield from found("vectors-missing", "damage", text, missing)
    if astray := tuple(name for name in extra if name in tables.rows_of_nobody):
        text = f"{len(astray)} ids of the index have a row of a segment that is in no table"
        yield from found("rows-ownerless", "warning", text, astray)
    if extra := tuple(name for name in extra if name not in tables.rows_of_nobody):
        # 0.x does this by itself when an id is deleted, added and deleted within one batch.
        text = f"{len(extra)} ids of the index have no row"
        yield from found("index-only", "warning", text, extra)


def _reach(each: CollectionSurvey) -> Iterator[Finding]:
    lost = each.segment.unreachable() if each.segment is not None else ()
    ids = tuple(name for name in lost if each.served.get(name) == IN_INDEX)  # not: about to change
    if ids:
        text = f"no link of the index leads to {len(ids)} of its elements, so no search finds them"
        yield from found("index-unreachable", "warning", text, ids)


def _vectors(each: CollectionSurvey) -> Iterator[Finding]:
    """Compare what the index would answer with what the log surely wrote."""
    written = each.replayed.vectors
    names = tuple(
        name
        for name in sorted(each.replayed.certain, key=written.__getitem__)
        if each.served.get(name, written[name]) != written[name]
    )
    differing: list[str] = []
    for start in range(0, len(names), _BLOCK):
        block = names[start : start + _BLOCK]
        differing += _differing(each, block, written)
    if differing:
        text = f"the index answers another vector than was written last for {len(differing)} ids"
        yield from found("vector-mismatch", "damage", text, tuple(differing))


def _differing(
    each: CollectionSurvey, names: tuple[str, ...], written: Mapping[str, int]
) -> Iterator[str]:
    """Yield the names whose vectors are not equal; in cosine space, whose directions are not."""
    vectors = [decode_vector(each.collection.log[written[name]], each.dimension) for name in names]
    there = [i for i, vector in enumerate(vectors) if vector is not None]
    if not there:
        return
    with np.errstate(all="ignore"):  # either may hold anything, infinities included
        got = each.served_vectors(names, as_stored=True).matrix[there].astype(np.float64)
        wanted = np.array([vectors[i] for i in there], dtype=np.float64)
        if each.collection.settings.space == "cosine":
            got, wanted = (side / _sizes(side, 1.0)[:, np.newaxis] for side in (got, wanted))
        near = _sizes(wanted - got, 0.0) <= _TOLERANCE * _sizes(wanted, 1.0)
    for i in np.flatnonzero(~near):
        if not np.array_equal(got[i], wanted[i], equal_nan=True):
            yield names[there[i]]


def _sizes(rows: npt.NDArray[np.float64], of_nothing: float) -> npt.NDArray[np.float64]:
    """Return the length of each row; `of_nothing` for a row of zeros."""
    sizes: npt.NDArray[np.float64] = np.linalg.norm(rows, axis=1)
    return np.where(sizes == 0, of_nothing, sizes)
