"""Bad input is refused in one sentence, before anything else happens."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palace_store.errors import PalaceInputError
from palace_store.validation import (
    check_documents,
    check_fit,
    check_ids,
    check_metadatas,
    check_name,
    check_settings,
    check_vectors,
)

Call = Callable[[], Any]
HALF = "\ud800"

BAD: dict[str, Call] = {
    "no ids": lambda: check_ids([]),
    "ids: one text": lambda: check_ids("abc"),
    "ids: bytes": lambda: check_ids(b"abc"),  # type: ignore[arg-type]  # the wrong type is the case
    "ids: None": lambda: check_ids(None),  # type: ignore[arg-type]  # as above
    "ids: a number in them": lambda: check_ids(["a", 1]),  # type: ignore[list-item]  # as above
    "ids: a list in them": lambda: check_ids([["a"]]),  # type: ignore[list-item]  # as above
    "id: empty": lambda: check_ids(["a", ""]),
    "id: NUL": lambda: check_ids(["a\0b"]),
    "id: half a surrogate": lambda: check_ids([HALF]),
    "id: 10 MB": lambda: check_ids(["x" * 10_000_000]),
    "id: 10 MB with NUL": lambda: check_ids(["\0" * 10_000_000]),
    "id: 513 bytes": lambda: check_ids(["ä" * 256 + "x"]),
    "id: twice": lambda: check_ids(["a", "b", "a"]),
    "name: two dots": lambda: check_name("a..b"),
    "name: parent": lambda: check_name("../x"),
    "name: short": lambda: check_name("ab"),
    "name: long": lambda: check_name("x" * 64),
    "name: slash": lambda: check_name("a/b"),
    "name: end": lambda: check_name("abc-"),
    "name: newline": lambda: check_name("abc\n"),
    "name: address": lambda: check_name("10.0.0.1"),
    "name: number": lambda: check_name(123),  # type: ignore[arg-type]  # the wrong type is the case
    "vectors: none": lambda: check_vectors([], 1),
    "vectors: too few": lambda: check_vectors([[1.0]], 2),
    "vectors: nothing for nothing": lambda: check_vectors([], 0),
    "vectors: flat": lambda: check_vectors([1.0, 2.0], 2),  # type: ignore[list-item]  # as above
    "vectors: a number": lambda: check_vectors(3, 1),  # type: ignore[arg-type]  # as above
    "vectors: mixed": lambda: check_vectors([[1.0], [1.0, 2.0]], 2),
    "vectors: empty": lambda: check_vectors([[]], 1),
    "vectors: huge": lambda: check_vectors([[0.0] * 65_537], 1),
    "vectors: text": lambda: check_vectors(["ab"], 1),  # type: ignore[list-item]  # as above
    "vectors: None in them": lambda: check_vectors([[None]], 1),  # type: ignore[list-item]  # as above
    "vectors: NaN": lambda: check_vectors([[1.0], [float("nan")]], 2),
    "vectors: inf": lambda: check_vectors([[float("inf")]], 1),
    "vectors: beyond 32 bits": lambda: check_vectors([[1e39]], 1),
    "vectors: a length beyond 32 bits": lambda: check_vectors([[3e38, 3e38]], 1),
    "vectors: a whole number beyond floats": lambda: check_vectors([[10**400]], 1),
    "documents: too few": lambda: check_documents(["a"], 2),
    "documents: one text": lambda: check_documents("ab", 2),
    "documents: a number": lambda: check_documents([1], 1),  # type: ignore[list-item]  # as above
    "documents: half a surrogate": lambda: check_documents([f"x{HALF}"], 1),
    "documents: a generator": lambda: check_documents((x for x in "a"), 1),  # type: ignore[arg-type]  # as above
    "metadatas: too many": lambda: check_metadatas([None, None], 1),
    "metadatas: empty": lambda: check_metadatas([{}], 1),
    "metadatas: a list": lambda: check_metadatas([[1]], 1),  # type: ignore[list-item]  # as above
    "metadata: key": lambda: check_metadatas([{1: 1}], 1),  # type: ignore[dict-item]  # as above
    "metadata: empty key": lambda: check_metadatas([{"": 1}], 1),
    "metadata: reserved": lambda: check_metadatas([{"chroma:document": "x"}], 1),
    "metadata: dollar": lambda: check_metadatas([{"$x": "x"}], 1),
    "metadata: hash": lambda: check_metadatas([{"#x": "x"}], 1),
    "metadata: None": lambda: check_metadatas([{"a": None}], 1),
    "metadata: list": lambda: check_metadatas([{"a": ["x"]}], 1),
    "metadata: NaN": lambda: check_metadatas([{"a": float("nan")}], 1),
    "metadata: infinite": lambda: check_metadatas([{"a": float("inf")}], 1),
    "metadata: 65 bits": lambda: check_metadatas([{"a": 2**63}], 1),
    "metadata: half a surrogate": lambda: check_metadatas([{"a": HALF}], 1),
    "metadata: key of half a surrogate": lambda: check_metadatas([{HALF: 1}], 1),
    "metadata: numpy": lambda: check_metadatas([{"a": np.float32(1)}], 1),
    "fit: dimension": lambda: check_fit(np.ones((1, 3), np.float32), 4),
    "fit: no direction": lambda: check_fit(np.zeros((1, 3), np.float32), 3, directed=True),
    "fit: hardly any": lambda: check_fit(np.full((1, 3), 1e-30, np.float32), None, directed=True),
    "settings: space": lambda: check_settings("round", 10, 10),
    "settings: threshold": lambda: check_settings("l2", 2, 10),
    "settings: batch": lambda: check_settings("l2", 10, 0),
    "settings: text": lambda: check_settings("l2", "10", 10),  # type: ignore[arg-type]  # as above
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_short_sentence(case: str) -> None:
    with pytest.raises(PalaceInputError) as caught:
        BAD[case]()
    assert caught.value.effect == "none"
    assert isinstance(caught.value, ValueError)
    text = str(caught.value)
    assert len(text) < 400
    assert "\n" not in text
    assert re.search(r"nothing was written$|^space|^\w+ is a number", text)


def test_good_input_comes_back() -> None:
    assert check_ids(("a", "ß" * 256)) == ["a", "ß" * 256]
    assert check_name("a.b-c_d") == "a.b-c_d"
    assert check_documents(["", None, "NUL \0 is text"], 3) == ["", None, "NUL \0 is text"]
    metadata = {"a": "x", "b": True, "c": -(2**63), "d": 1.5, "größe": 2**63 - 1}
    assert check_metadatas([metadata, None], 2) == [metadata, None]
    assert check_documents(None, 3) is None
    assert check_metadatas(None, 3) is None
    check_fit(np.zeros((1, 3), np.float32), None)
    check_settings("ip", 3, 3)


@given(st.lists(st.text(), min_size=1, max_size=5), st.integers(1, 3))
def test_ids_are_refused_or_returned_as_they_are(ids: list[str], copies: int) -> None:
    try:
        assert check_ids(ids * copies) == ids * copies
    except PalaceInputError:
        return
    assert copies == 1
    assert all(0 < len(name.encode()) <= 512 and "\0" not in name for name in ids)


@given(st.lists(st.lists(st.floats(), min_size=1, max_size=4), min_size=1, max_size=4))
def test_vectors_are_refused_or_finite(vectors: list[list[float]]) -> None:
    try:
        array = check_vectors(vectors, len(vectors))
    except PalaceInputError:
        return
    assert array.shape == (len(vectors), len(vectors[0]))
    assert array.dtype == np.float32
    assert np.isfinite((array.astype(np.float64) ** 2).sum(axis=1)).all()
