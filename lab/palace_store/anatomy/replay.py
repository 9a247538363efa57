"""Applies a collection's log the way chromadb does, to ids and to vectors.

Rules, the same in 0.5.23 to 1.5.9. ADD of an id that is there is ignored, UPDATE of one that is
not there is ignored, UPSERT always holds, DELETE removes. A record without a vector changes no
vector. The metadata segment applies what is above its watermark to the rows, the vector segment
what is above its own to the index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from palace_store.anatomy.records import ADD, DELETE, UPDATE, UPSERT, LogRecord

#: Where a vector is: in the index files, or at this position of the log.
IN_INDEX = -1

_FORMATS = {"FLOAT32": "<f4", "INT32": "<i4"}


def decode_vector(record: LogRecord, dimension: int | None) -> npt.NDArray[np.float32] | None:
    """Return a log record's vector, None if it has none or it does not have `dimension` numbers."""
    format_ = _FORMATS.get(record.encoding or "")
    if record.vector is None or format_ is None or len(record.vector) % 4:
        return None
    vector = np.frombuffer(record.vector, dtype=format_).astype(np.float32)
    return vector if dimension is None or len(vector) == dimension else None


def unreadable(log: Sequence[LogRecord], dimension: int | None) -> list[LogRecord]:
    """Return the records that no release could apply."""
    return [
        record
        for record in log
        if record.operation not in (ADD, UPDATE, UPSERT, DELETE)
        or (record.vector_bytes and decode_vector(record, dimension) is None)
    ]


def apply_to_rows(
    rows: Mapping[str, int], log: Sequence[LogRecord], watermark: int
) -> dict[str, int]:
    """Return id → sequence number after the log above `watermark`, in order of insertion."""
    result = dict(rows)
    for record in log:
        if record.seq_id <= watermark:
            continue
        there = record.id in result
        if record.operation == DELETE:
            result.pop(record.id, None)
        elif (
            record.operation == UPSERT
            or (record.operation == ADD and not there)
            or (record.operation == UPDATE and there)
        ):
            result[record.id] = record.seq_id
    return result


def apply_to_index(
    located: Mapping[str, int], log: Sequence[LogRecord], watermark: int, dimension: int | None
) -> dict[str, int]:
    """Return id → `IN_INDEX` or log position after the log above `watermark`."""
    result = dict.fromkeys(located, IN_INDEX)
    for position, record in enumerate(log):
        if record.seq_id > watermark:
            _apply_vector(result, position, record, dimension)
    return result


def _apply_vector(
    result: dict[str, int], position: int, record: LogRecord, dimension: int | None
) -> None:
    if record.operation == DELETE:
        result.pop(record.id, None)
        return
    there = record.id in result
    ignored = (record.operation == ADD and there) or (record.operation == UPDATE and not there)
    if ignored or record.operation not in (ADD, UPDATE, UPSERT):
        return
    if decode_vector(record, dimension) is not None:
        result[record.id] = position


@dataclass(frozen=True)
class LogReplay:
    """What the log alone gives.

    `vectors` maps ids to log positions. `certain` are the ids whose position is surely the last
    vector written: a log that was purged may hold an ADD that was ignored because the id was
    there, and it must not be taken for the id's vector. `complete` says that chromadb, replaying
    the log from nothing, would rebuild the vector of every row.
    """

    vectors: Mapping[str, int]
    certain: frozenset[str]
    complete: bool


def replay_log(
    rows: Mapping[str, int],
    log: Sequence[LogRecord],
    dimension: int | None,
    *,
    purged: bool = False,
) -> LogReplay:
    """Find the vectors of rows in the log; `rows` is id → sequence number of its last change.

    An ADD that took effect set the row's number to its own, so an ADD above the row's number was
    ignored. An ADD below it is ambiguous; it is believed unless the log was `purged`, which the
    caller may know from the configuration and which rows without an insertion show. An
    UPDATE without an insertion before it holds the vector of a row whose insertion was purged;
    chromadb would ignore it, so it counts as certain, but never towards `complete`.
    """
    vectors: dict[str, int] = {}
    updates: dict[str, int] = {}
    for position, record in enumerate(log):
        there = record.id in vectors
        if record.operation == ADD and record.seq_id > rows.get(record.id, record.seq_id):
            continue
        if record.operation == DELETE:
            updates.pop(record.id, None)
        elif record.operation == UPDATE and not there:
            if decode_vector(record, dimension) is not None:
                updates[record.id] = position
            continue
        _apply_vector(vectors, position, record, dimension)
    inserted = {name: position for name, position in vectors.items() if name in rows}
    purged = purged or len(inserted) < len(rows)
    certain = {
        name
        for name, position in inserted.items()
        if not purged
        or log[position].operation in (UPDATE, UPSERT)
        or log[position].seq_id == rows[name]
    }
    complete = len(certain) == len(rows)
    orphans = {
        name: position
        for name, position in updates.items()
        if name in rows and name not in inserted
    }
    return LogReplay({**inserted, **orphans}, frozenset(certain | set(orphans)), complete)
