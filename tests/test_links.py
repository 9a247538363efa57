"""Which elements links lead to, compared with a walk by hand, on graphs of every kind."""

from __future__ import annotations

import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from palace_store.anatomy.links import above_ground, unreached

LINKS_MAX = 4
RECORD = np.dtype([("count", "<u2"), ("links", "<u4", (LINKS_MAX,))])
#: Counts and links of one element; some lie beyond what a sound file may say.
ELEMENT = st.tuples(
    st.integers(0, LINKS_MAX + 2),
    st.lists(st.integers(0, 12) | st.just(2**32 - 1), min_size=LINKS_MAX, max_size=LINKS_MAX),
)


@given(st.lists(ELEMENT, min_size=1, max_size=10), st.data())
def test_what_no_link_leads_to_is_what_a_walk_does_not_meet(
    graph: list[tuple[int, list[int]]], data: st.DataObject
) -> None:
    starts = data.draw(st.lists(st.integers(0, len(graph) - 1), min_size=1, max_size=3))
    met: set[int] = set()
    ahead = list(starts)
    while ahead:
        at = ahead.pop()
        if at < len(graph) and at not in met:
            met.add(at)
            count, links = graph[at]
            ahead += links[:count]
    records = np.array([(count, tuple(links)) for count, links in graph], dtype=RECORD)
    assert set(unreached(records, starts).tolist()) == set(range(len(graph))) - met


@given(st.lists(st.integers(0, 3), max_size=8), st.integers(0, 60))
def test_who_is_above_the_ground_is_read_as_far_as_the_file_goes(
    levels: list[int], cut: int
) -> None:
    whole = b"".join(struct.pack("<I", 8 * level) + bytes(8 * level) for level in levels)
    found = above_ground(whole[:cut] if cut < len(whole) else whole, len(levels))
    above = [element for element, level in enumerate(levels) if level]
    assert found == above[: len(found)]
    if cut >= len(whole):
        assert found == above
