"""Turns into findings what places say of the size of vectors: how many numbers, and how long.

Rules. In cosine space an index holds unit vectors and their lengths apart: a vector of zeros has
the length 0, a unit vector never. Measured: without a dimension in the table 1.0.21 and 1.5.9 find
nothing and give no vector until the next write brings it back; 0.6.3 does not look at it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from palace_store.anatomy.collection_survey import CollectionSurvey
from palace_store.anatomy.findings import Finding, Severity, found
from palace_store.anatomy.hnsw_files import Segment
from palace_store.anatomy.records import Tables

#: No length is as much as the root of the largest float32: chromadb adds up squares in those.
LENGTH_END = 1.85e19

#: The length of a stored unit vector differs from 1 by less (measured: 2e-7).
_UNIT = 1e-3

#: Vectors measured at a time: 25 MB of 384 dimensions.
_BLOCK = 4096


def lengths(each: CollectionSurvey) -> Iterator[Finding]:
    """Yield the vectors whose length is no length, or is gone from length.bin."""
    segment = each.segment
    if segment is None or each.collection.settings.space != "cosine":
        return
    usable = (segment.lengths >= 0) & (segment.lengths < LENGTH_END)  # of NaN neither holds
    usable &= ~_emptied(segment)
    torn = tuple(
        name for name, at in segment.located.items() if at < len(usable) and not usable[at]
    )
    if torn:
        text = f"length.bin holds no length for {len(torn)} vectors"
        yield from found("index-torn", "damage", text, torn)


def dimensions(tables: Tables, each: CollectionSurvey) -> Iterator[Finding]:
    """Yield where table, header.bin and pickle contradict each other, or the table says nothing."""
    said = {"the collection": each.collection.dimension}
    if each.segment is not None and each.segment.header is not None:
        said["header.bin"] = each.segment.header.dimension
    if each.segment is not None and each.segment.index is not None:
        said["the pickle"] = each.segment.index.dimensionality
    known = {place: number for place, number in said.items() if number is not None}
    if len(set(known.values())) > 1:
        text = ", ".join(f"{place} says {number}" for place, number in known.items())
        yield from found("dimension-mismatch", "damage", f"the vectors' length is in doubt: {text}")
    if each.collection.dimension is None and each.served:
        severity: Severity = "damage" if tables.era == "integer" else "note"
        text = f"the collection has no dimension, so chromadb 1.x finds none of {len(each.served)}"
        yield from found("dimension-missing", severity, f"{text} vectors")


def _emptied(segment: Segment) -> npt.NDArray[np.bool_]:
    """Return which lengths are zero though the vector is one of length 1."""
    zero: npt.NDArray[np.bool_] = np.array(segment.lengths == 0)
    zero[len(segment.records) :] = False
    where = np.flatnonzero(zero)
    for start in range(0, len(where), _BLOCK):
        block = where[start : start + _BLOCK]
        with np.errstate(all="ignore"):  # a torn file may hold anything
            sizes = np.linalg.norm(segment.records["vector"][block].astype(np.float64), axis=1)
            zero[block] = np.abs(sizes - 1) < _UNIT
    return zero
