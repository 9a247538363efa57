"""Reads the vectors of data_level0.bin where header.bin is gone, torn, or of another flush.

Rules. The shape of a record follows from what SQLite keeps: the dimension, and how many neighbours
an element may have. The pickle says how many elements there are, and which labels. A record counts
if it has such a label, a list of links that fits and a finite vector; of a wrong shape none would
(a label is 8 bytes at one place). Whether two have one label is for the caller to look at.

A flush of 0.x that is killed leaves a header with the number of elements there were to be. Its file
has room for 1,000 elements from the start, filled with what the memory held: unwritten ones may
have any label, also one of the pickle's, and any vector (docs/s1-measured.md).
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from palace_store.anatomy.findings import AnatomyError, Finding, open_regular
from palace_store.anatomy.hnsw_files import Segment, map_records
from palace_store.anatomy.hnsw_header import Header, record_type

_DIMENSIONS_MAX = 1 << 16
_NEIGHBOURS_MAX = 1 << 10
#: No label of chromadb's: they are 32-bit numbers.
_NOBODY = np.iinfo(np.uint64).max


def read_without_header(found: Segment, dimension: int | None, neighbours: int) -> Segment:
    """Return the segment with all elements whose label its pickle knows, or as it is.

    `neighbours` is the collection's `hnsw:M`. Says nothing of the links of the whole graph.
    """
    if found.index is None or not 0 < (dimension or 0) <= _DIMENSIONS_MAX:
        return found
    if not 0 < neighbours <= _NEIGHBOURS_MAX or len(found.located) == len(found.id_to_label):
        return found
    header = _header(dimension or 0, neighbours, found.index.total_elements_added)
    try:
        records = _records(found, header)
    except AnatomyError:
        return found
    known = np.fromiter(found.index.label_to_id, dtype=np.uint64)
    fits = _fits(records, header) & np.isin(records["label"], known)
    whole = replace(
        found,
        header=header,
        records=records,
        labels=np.where(fits, records["label"], _NOBODY),
        deleted=~fits | np.array(records["flags"] & 1, dtype=np.bool_),
        lengths=_lengths(found, len(records)),
    )
    return whole if len(whole.located) > len(found.located) else found


def without_unwritten(found: Segment) -> Segment:
    """Return the segment without elements that a killed flush has only made room for, or as it is.

    They follow all that the pickle counts, and are named in a finding. If each of these could be
    an element, nothing is left out: what another process has written there is a trace of it.
    """
    if found.header is None or found.index is None:
        return found
    count = max(found.index.total_elements_added, *found.index.label_to_id, 0)
    behind = found.records[count:]
    numbered = (behind["label"] > 0) & (behind["label"] <= found.header.cur_count)
    if (numbered & _fits(behind, found.header)).all():
        return found
    text = (
        f"Segment {found.path.name}: header.bin counts {found.header.cur_count} elements, but from "
        f"number {count} on they were not all written."
    )
    return replace(
        found,
        records=found.records[:count],
        labels=found.labels[:count],
        deleted=found.deleted[:count],
        lengths=found.lengths[:count],
        findings=(*found.findings, Finding("index-torn", "damage", text)),
    )


def _header(dimension: int, neighbours: int, elements: int) -> Header:
    at_vector = 4 + 8 * neighbours
    at_label = at_vector + 4 * dimension
    return Header(
        version=1, offset_level0=0, max_elements=elements, cur_count=elements,
        record_bytes=at_label + 8, label_offset=at_label, vector_offset=at_vector,
        max_level=0, enter_point=0, max_m=neighbours, max_m0=2 * neighbours, m=neighbours,
        mult=0.0, ef_construction=0,
    )  # fmt: skip


def _records(found: Segment, header: Header) -> npt.NDArray[Any]:
    path = found.path / "data_level0.bin"
    with open_regular(path) as file:
        there = os.fstat(file.fileno()).st_size // header.record_bytes
    return map_records(path, record_type(header), min(there, header.cur_count))


def _lengths(found: Segment, count: int) -> npt.NDArray[np.float32]:
    path = found.path / "length.bin"
    try:
        lengths: npt.NDArray[np.float32] = map_records(path, np.dtype("<f4"), count)
    except AnatomyError:
        return np.zeros(0, dtype=np.float32)
    return lengths


def _fits(records: npt.NDArray[Any], header: Header) -> npt.NDArray[np.bool_]:
    """Return which records are such as chromadb writes, as far as that can be told one by one."""
    counts = records["count"]
    used = np.arange(header.max_m0)[np.newaxis, :] < counts[:, np.newaxis]
    wild = (used & (records["links"] >= header.cur_count)).any(axis=1)
    finite: npt.NDArray[np.bool_] = np.isfinite(records["vector"]).all(axis=1)
    fits: npt.NDArray[np.bool_] = finite & ~wild & (counts <= header.max_m0)
    return fits
