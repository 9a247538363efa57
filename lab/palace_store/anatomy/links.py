"""Checks the links of an HNSW graph: on the ground in data_level0.bin, above it in link_lists.bin.

Rules. A link must point at an existing element and a list must not be longer than the header
allows: chromadb follows both unchecked, which is how a torn file becomes a SIGSEGV (S1). Files
are read once, in blocks; a file of many empty gigabytes costs no more than a healthy one.
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
    path: Path,
    *,
    elements: int,
    level_bytes: int,
    levels: int,
    allocated_bytes: int,
    deep: bool,
) -> Iterator[Fault]:
    """Yield what contradicts the header in link_lists.bin.

    An element above the ground costs `level_bytes` a level, and there are `levels` at most.
    """
    try:
        file = open_regular(path)
    except AnatomyError as error:
        missing = error.kind == "missing"
        yield "index-torn", "damage", "link_lists.bin is missing" if missing else str(error)
        return
    with file:
        size = os.fstat(file.fileno()).st_size
        limit = elements * (4 + levels * level_bytes)
        if size > limit:
            yield (
                "bloated-file",
                "damage",
                f"link_lists.bin has {size} bytes ({allocated_bytes} on disk), {limit} are allowed",
            )
        if deep:
            fault = _walk(file, size, elements, level_bytes, levels)
            if fault is not None:
                yield "index-torn", "damage", fault


def _walk(file: BinaryIO, size: int, elements: int, level_bytes: int, levels: int) -> str | None:
    """Follow the sizes from element to element."""
    at = 0
    for element in range(elements):
        if at + 4 > size:
            return f"link_lists.bin ends at element {element} of {elements}"
        try:
            file.seek(at)
            head = file.read(4)
        except OSError as error:
            return f"link_lists.bin cannot be read: {error.strerror}"
        if len(head) < _SIZE.size:
            return f"link_lists.bin ends at element {element} of {elements}"
        length = _SIZE.unpack(head)[0]
        if length % level_bytes or length // level_bytes > levels:
            return f"element {element} of link_lists.bin claims {length} bytes"
        if at + 4 + length > size:
            return f"link_lists.bin ends inside element {element} of {elements}"
        at += 4 + length
    return None
