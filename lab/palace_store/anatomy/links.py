"""Checks the links of an HNSW graph: on the ground in data_level0.bin, above it in link_lists.bin.

Rules. A link must point at an existing element, one that has lists on that level, and a list must
not be longer than the header allows: chromadb follows them unchecked, which is how a torn file
becomes a SIGSEGV (S1). Files are read once, in blocks; a file of many empty gigabytes costs no
more than a healthy one.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from palace_store.anatomy.findings import AnatomyError, Severity, open_regular
from palace_store.anatomy.hnsw_header import Header

_BLOCK = 16_384
_SIZE = struct.Struct("<I")

Fault = tuple[str, Severity, str]


def graph_fault(records: npt.NDArray[Any], links_max: int, elements: int) -> str | None:
    """Return the first contradiction on the ground level as half a sentence, or None."""
    for start in range(0, len(records), _BLOCK):
        block = records[start : start + _BLOCK]
        counts = block["count"]
        if (counts > links_max).any():
            where = start + int(np.argmax(counts > links_max))
            return f"element {where} of data_level0.bin has more than {links_max} links"
        used = np.arange(links_max)[np.newaxis, :] < counts[:, np.newaxis]
        wrong = (used & (block["links"] >= elements)).any(axis=1)
        if wrong.any():
            where = start + int(np.argmax(wrong))
            return f"element {where} of data_level0.bin has a link beyond the {elements} elements"
    return None


def unreached(records: npt.NDArray[Any], starts: list[int]) -> npt.NDArray[np.intp]:
    """Return the elements to which no links on the ground level lead from any of these.

    A living writer may change what was found sound before: links beyond the elements lead nowhere.
    """
    reached = np.zeros(len(records), dtype=np.bool_)
    edge = np.array(starts, dtype=np.intp)
    while len(edge):
        reached[edge] = True
        block = records[edge]
        used = np.arange(block["links"].shape[1])[np.newaxis, :] < block["count"][:, np.newaxis]
        ahead = np.unique(block["links"][used]).astype(np.intp)
        ahead = ahead[ahead < len(records)]
        edge = ahead[~reached[ahead]]
    return np.flatnonzero(~reached)


def above_ground(data: bytes, elements: int) -> list[int]:
    """Return the elements that link_lists.bin has lists for: where searches come down."""
    found, at = [], 0
    for element in range(elements):
        if at + _SIZE.size > len(data):
            break
        (length,) = _SIZE.unpack_from(data, at)
        at += 4 + length
        if length:
            found.append(element)
    return found


def link_lists_faults(
    path: Path, header: Header, *, allocated_bytes: int, deep: bool
) -> Iterator[Fault]:
    """Yield what contradicts the header in link_lists.bin; only `deep` looks at the links in it."""
    try:
        file = open_regular(path)
    except AnatomyError as error:
        missing = error.kind == "missing"
        yield "index-torn", "damage", "link_lists.bin is missing" if missing else str(error)
        return
    with file:
        size = os.fstat(file.fileno()).st_size
        limit = header.cur_count * (4 + max(header.max_level, 0) * header.link_bytes)
        if size > limit:
            yield (
                "bloated-file",
                "damage",
                f"link_lists.bin has {size} bytes ({allocated_bytes} on disk), {limit} are allowed",
            )
        if deep:
            fault = _Lists(file, size, header).fault()
            if fault is not None:
                yield "index-torn", "damage", fault


class _Lists:
    """The lists above the ground, from element to element: for each a size, and a list a level."""

    def __init__(self, file: BinaryIO, size: int, header: Header) -> None:
        self.file, self.size, self.header = file, size, header
        self.levels = np.zeros(header.cur_count, dtype=np.uint8)
        self.starts: list[tuple[int, int]] = []  # element, and where its lists are

    def fault(self) -> str | None:
        """Return the first contradiction as half a sentence, or None."""
        try:
            return self._sizes() or self._entry() or self._links()
        except OSError as error:
            return f"link_lists.bin cannot be read: {error.strerror}"

    def _sizes(self) -> str | None:
        at, elements, one_level = 0, self.header.cur_count, self.header.link_bytes
        for element in range(elements):
            self.file.seek(at)
            head = self.file.read(4)
            if len(head) < _SIZE.size:
                return f"link_lists.bin ends at element {element} of {elements}"
            length = _SIZE.unpack(head)[0]
            levels = length // one_level
            if length % one_level or levels > max(self.header.max_level, 0):
                return f"element {element} of link_lists.bin claims {length} bytes"
            if at + 4 + length > self.size:
                return f"link_lists.bin ends inside element {element} of {elements}"
            if levels:
                self.levels[element] = levels
                self.starts.append((element, at + 4))
            at += 4 + length
        return None

    def _entry(self) -> str | None:
        """Every search begins at one element, on the level that header.bin names."""
        element, level = self.header.enter_point, self.header.max_level
        if self.header.cur_count == 0 or self.levels[element] == level:
            return None
        return (
            f"searches begin at element {element} on level {level}, as header.bin has it, and "
            f"link_lists.bin has {self.levels[element]} levels of it"
        )

    def _links(self) -> str | None:
        for element, start in self.starts:
            levels = int(self.levels[element])
            self.file.seek(start)
            lists = np.frombuffer(self.file.read(levels * self.header.link_bytes), dtype="<u4")
            for level, row in enumerate(lists.reshape(levels, -1), 1):
                count = int(row[0]) & 0xFFFF
                if count > self.header.max_m:
                    return f"element {element} has {count} links on level {level}"
                links = row[1 : 1 + count]
                if (links >= self.header.cur_count).any() or (self.levels[links] < level).any():
                    return (
                        f"element {element} has a link on level {level} of link_lists.bin to one "
                        "that is not on it"
                    )
        return None
