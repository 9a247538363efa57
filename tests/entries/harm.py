"""Harm done to index files by hand, as chromadb has been seen to do it to itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from palace_store.anatomy import Segment, survey
from palace_store.anatomy.hnsw_files import read_segment
from palace_store.anatomy.links import above_ground


def cut_off(directory: Path, name: str) -> None:
    """Take every link to one drawer's element away; it stays in the index, with its own links."""
    segment = read_segment(directory)
    assert segment.header is not None
    element = segment.located[name]
    records = np.memmap(
        directory / "data_level0.bin",
        dtype=segment.records.dtype,
        mode="r+",
        shape=(segment.header.cur_count,),
    )
    for record in records:
        kept = [link for link in record["links"][: record["count"]] if link != element]
        record["links"][: len(kept)] = kept
        record["count"] = len(kept)
    records.flush()


def index_of(palace: Path) -> Segment:
    """Return the one index of a palace."""
    segment = survey(palace).collection("drawers").segment
    assert segment is not None
    assert segment.header is not None
    return segment


def unlink(directory: Path, count: int) -> list[str]:
    """Cut off so many drawers at whose elements no search comes down; return their ids."""
    segment = read_segment(directory)
    assert segment.header is not None
    links = (directory / "link_lists.bin").read_bytes()
    above = {segment.header.enter_point, *above_ground(links, len(segment.records))}
    ground = sorted(name for name, element in segment.located.items() if element not in above)
    for name in ground[:count]:
        cut_off(directory, name)
    return ground[:count]
