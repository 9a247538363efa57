"""Reads header.bin, which gives the shape of the other HNSW files.

Rules. A header is believed as a whole or not at all: every field must fit every other, because
chromadb allocates memory and follows links by them without a look.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from palace_store.anatomy.findings import AnatomyError

_HEADER = struct.Struct("<i6QiI3QdQ")
_RECORD_BYTES_MAX = 1 << 24
_LEVELS_MAX = 64
_EF_MAX = 1 << 31

#: More elements than this are not read.
ELEMENTS_MAX = 1 << 25


@dataclass(frozen=True)
class Header:
    """header.bin. Sizes and offsets are bytes within one record of data_level0.bin."""

    version: int
    offset_level0: int
    max_elements: int
    cur_count: int
    record_bytes: int
    label_offset: int
    vector_offset: int
    max_level: int
    enter_point: int
    max_m: int
    max_m0: int
    m: int
    mult: float
    ef_construction: int

    @property
    def dimension(self) -> int:
        """Return the number of float32 in a vector."""
        return (self.label_offset - self.vector_offset) // 4

    @property
    def link_bytes(self) -> int:
        """Return the bytes one level above the ground costs an element in link_lists.bin."""
        return 4 + 4 * self.max_m


def parse_header(data: bytes) -> Header:
    """Return the header, or raise `AnatomyError` when it is short or contradicts itself."""
    if len(data) < _HEADER.size:
        message = f"header.bin has {len(data)} bytes where {_HEADER.size} belong"
        raise AnatomyError(message, kind="index-torn")
    header = Header(*_HEADER.unpack_from(data))
    links = 4 + 4 * header.max_m0
    if not (
        header.version == 1
        and header.offset_level0 == 0
        and 0 < header.m == header.max_m
        and header.max_m0 == 2 * header.m
        and (header.m == 1 or math.isclose(header.mult, 1 / math.log(header.m)))
        and header.m <= header.ef_construction <= _EF_MAX
        and header.vector_offset == links
        and header.label_offset - links >= 4  # noqa: PLR2004 - one float32
        and (header.label_offset - links) % 4 == 0
        and header.record_bytes == header.label_offset + 8 <= _RECORD_BYTES_MAX
        and header.cur_count <= min(header.max_elements, ELEMENTS_MAX)
        and header.max_elements <= 2 * ELEMENTS_MAX
        and header.max_level <= _LEVELS_MAX
        and (header.cur_count == 0 or header.max_level >= 0)
        and (header.cur_count == 0 or header.enter_point < header.cur_count)
    ):
        raise AnatomyError("header.bin contradicts itself", kind="index-torn")
    return header


def record_type(header: Header) -> np.dtype[Any]:
    """Return the shape of one record of data_level0.bin."""
    return np.dtype(
        {
            "names": ["count", "flags", "links", "vector", "label"],
            "formats": [
                "<u2",
                "u1",
                ("<u4", (header.max_m0,)),
                ("<f4", (header.dimension,)),
                "<u8",
            ],
            "offsets": [0, 2, 4, header.vector_offset, header.label_offset],
            "itemsize": header.record_bytes,
        }
    )
