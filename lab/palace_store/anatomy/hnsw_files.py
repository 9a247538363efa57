"""Reads one segment directory: the HNSW files and the pickle that names their elements.

Rules. data_level0.bin is mapped, not loaded, and only as far as both its header and its size
allow; a process that truncates the file meanwhile kills the reader, so read only what nobody
writes, or in a child that may die. Damage becomes a finding and whatever is still readable is
kept: every vector whose label the pickle knows.

Layout, as written by every release from 0.5.23 to 1.5.9. header.bin: 100 bytes, little-endian.
data_level0.bin: one record an element: u16 number of links, u8 flags (1: deleted), u8 unused, the
links as u32, the float32 vector, the u64 label. length.bin: one float32 an element, in cosine
space the length of the vector before it was normalised, else unused memory. link_lists.bin: per
element a u32 size and that many bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from palace_store.anatomy.database_file import DATABASE
from palace_store.anatomy.findings import AnatomyError, Finding, open_regular, read_bounded
from palace_store.anatomy.hnsw_header import Header, parse_header, record_type
from palace_store.anatomy.links import above_ground, graph_fault, link_lists_faults, unreached
from palace_store.anatomy.safe_pickle import (
    PICKLE_BYTES_MAX,
    PICKLE_DATABASES_MAX,
    PickledIndex,
    read_index_pickle,
)

PICKLE = "index_metadata.pickle"
INDEX_FILES = ("header.bin", "data_level0.bin", "length.bin", "link_lists.bin")

#: Of a sparse file, four times what is allocated plus 256 MiB is read at most (compressing file
#: systems allocate less than they hold).
_SPARSE_FACTOR = 4
_SPARSE_SLACK_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class FileSize:
    """Bytes of a file as its length says, and as the disk has allocated."""

    apparent_bytes: int
    allocated_bytes: int


@dataclass(frozen=True)
class Segment:
    """What could be read of a segment directory.

    `labels`, `deleted` and `lengths` have one entry a readable element. `index` is None when the
    pickle is not there or not readable. `files` holds the sizes of the files that are there.
    """

    path: Path
    header: Header | None
    index: PickledIndex | None
    records: npt.NDArray[Any]
    labels: npt.NDArray[np.uint64]
    deleted: npt.NDArray[np.bool_]
    lengths: npt.NDArray[np.float32]
    files: Mapping[str, FileSize]
    findings: tuple[Finding, ...]

    @property
    def id_to_label(self) -> Mapping[str, int]:
        """Return the pickle's map, empty when there is none."""
        return {} if self.index is None else self.index.id_to_label

    @cached_property
    def positions(self) -> Mapping[int, int]:
        """Return label → element for the elements that are not marked deleted."""
        alive = np.flatnonzero(~self.deleted)
        return dict(zip(self.labels[alive].tolist(), alive.tolist()))  # noqa: B905 - same array

    @cached_property
    def located(self) -> Mapping[str, int]:
        """Return id → element for every id of the pickle that has a live vector."""
        positions = self.positions
        return {
            name: positions[label] for name, label in self.id_to_label.items() if label in positions
        }

    def vectors(
        self, ids: Iterable[str], *, lengths_restored: bool = False
    ) -> npt.NDArray[np.float32]:
        """Return the vectors of ids, one row each, as the file holds them.

        In cosine space files hold unit vectors; `lengths_restored` multiplies by length.bin and
        gives what was written, as chromadb itself does on `get`. KeyError for an id that is not
        in `located`.
        """
        where = np.fromiter((self.located[name] for name in ids), dtype=np.intp)
        if self.header is None:
            return np.zeros((0, 0), dtype=np.float32)
        found = np.array(self.records["vector"][where], dtype=np.float32)
        if lengths_restored and len(self.lengths) == len(self.records):
            with np.errstate(all="ignore"):  # a torn length.bin may hold anything
                found *= self.lengths[where, np.newaxis]
        return found

    def unreachable(self) -> tuple[str, ...]:
        """Return the ids with a live element that no search comes to, since no link leads there.

        Replacing vectors can do that to a neighbour (chromadb 1.x, docs/s1-measured.md). Reads
        the index whole; says nothing about a damaged one.
        """
        if self.header is None or self.findings or not len(self.records):
            return ()
        above = (self.path / "link_lists.bin").read_bytes()
        starts = [self.header.enter_point, *above_ground(above, len(self.records))]
        lost = frozenset(unreached(self.records, starts).tolist())
        return tuple(name for name, element in self.located.items() if element in lost)


def _sizes(directory: Path) -> dict[str, FileSize]:
    sizes = {}
    for name in (*INDEX_FILES, PICKLE):
        try:
            status = (directory / name).stat()
        except (OSError, ValueError):
            continue
        sizes[name] = FileSize(status.st_size, status.st_blocks * 512)
    return sizes


def map_records(path: Path, dtype: np.dtype[Any], count: int) -> npt.NDArray[Any]:
    """Map the first `count` entries of a file; `AnatomyError` where it has fewer."""
    if count == 0:
        return np.zeros(0, dtype=dtype)
    with open_regular(path) as file:
        try:
            return np.memmap(file, dtype=dtype, mode="r", shape=(count,))
        except (OSError, ValueError, OverflowError, MemoryError) as error:
            message = f"{path} cannot be mapped: {error}"
            raise AnatomyError(message, kind="index-torn") from None


class _Findings(list[Finding]):
    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory

    def torn(self, sentence: str) -> None:
        self.append(Finding("index-torn", "damage", f"Segment {self.directory.name}: {sentence}."))


def _load(directory: Path, name: str, dtype: np.dtype[Any], count: int, found: _Findings) -> Any:
    """Map up to `count` entries; a short or missing file is reported and gives fewer."""
    try:
        with open_regular(directory / name) as file:
            status = os.fstat(file.fileno())
        solid = status.st_blocks * 512 * _SPARSE_FACTOR + _SPARSE_SLACK_BYTES
        there = min(status.st_size, solid) // dtype.itemsize
        if there < count:
            found.torn(f"{name} holds {there} elements, header.bin promises {count}")
        return map_records(directory / name, dtype, min(there, count))
    except AnatomyError as error:
        found.torn(f"{name} is missing" if error.kind == "missing" else str(error))
        return np.zeros(0, dtype=dtype)


def read_segment(directory: Path, *, deep: bool = True) -> Segment:
    """Read a segment directory; damage is in the findings, never an exception.

    Raises `AnatomyError` of kind ``too-large`` alone, of a pickle that no palace with a database of
    that size has: what was not read is not damaged.

    A directory without any index file gives an empty segment without findings: nothing has been
    persisted yet. `deep` also walks the links of the graph, which reads the whole file.
    """
    found = _Findings(directory)
    files = _sizes(directory)
    header: Header | None = None
    index: PickledIndex | None = None
    records: npt.NDArray[Any] = np.zeros(0, dtype=np.uint8)
    lengths: npt.NDArray[np.float32] = np.zeros(0, dtype=np.float32)
    labels: npt.NDArray[np.uint64] = np.zeros(0, dtype=np.uint64)
    deleted: npt.NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
    try:
        index = read_index_pickle(directory / PICKLE, limit_bytes=_pickle_bytes_max(directory))
    except AnatomyError as error:
        if error.kind == "too-large" and not _has_holes(directory / PICKLE):
            raise
        if error.kind != "missing":
            kind = error.kind if error.kind.startswith("pickle-") else "pickle-torn"
            found.append(Finding(kind, "damage", f"Segment {directory.name}: {error}."))
    if files or index is not None:
        try:
            header = parse_header(read_bounded(directory / "header.bin", 4096))
        except AnatomyError as error:
            found.torn("header.bin is missing" if error.kind == "missing" else str(error))
    if header is not None:
        records = _load(directory, "data_level0.bin", record_type(header), header.cur_count, found)
        lengths = _load(directory, "length.bin", np.dtype("<f4"), header.cur_count, found)
        labels = np.array(records["label"], dtype=np.uint64)
        deleted = np.array(records["flags"] & 1, dtype=np.bool_)
        _check_links(directory, header, records, files, found, deep=deep)
    return Segment(directory, header, index, records, labels, deleted, lengths, files, tuple(found))


def _has_holes(file: Path) -> bool:
    """Tell whether parts of a file were never written, as of one that was only made longer."""
    status = file.stat()
    return 512 * status.st_blocks < status.st_size // 2


def _pickle_bytes_max(directory: Path) -> int:
    try:
        database_bytes = (directory.parent / DATABASE).stat().st_size
    except OSError:
        database_bytes = 0
    return max(PICKLE_BYTES_MAX, PICKLE_DATABASES_MAX * database_bytes)


def _check_links(
    directory: Path,
    header: Header,
    records: npt.NDArray[Any],
    files: Mapping[str, FileSize],
    found: _Findings,
    *,
    deep: bool,
) -> None:
    fault = graph_fault(records, header.max_m0, header.cur_count) if deep else None
    if fault is not None:
        found.torn(fault)
    found.extend(
        Finding(kind, severity, f"Segment {directory.name}: {sentence}.")
        for kind, severity, sentence in link_lists_faults(
            directory / "link_lists.bin",
            header,
            allocated_bytes=files["link_lists.bin"].allocated_bytes
            if "link_lists.bin" in files
            else 0,
            deep=deep,
        )
    )
