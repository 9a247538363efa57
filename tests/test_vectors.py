"""The stand-in for a model: the same numbers everywhere and for ever, and no two alike."""

from __future__ import annotations

import hashlib
import itertools
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palace_lab.workloads.vectors import (
    document,
    drawer_id,
    drawer_number,
    revision_of,
    vector,
)

SEEDS = st.integers(0, 2**32 - 1)
NUMBERS = st.integers(0, 9_999_999)
DIMENSIONS = st.integers(1, 400)


# Golden: if one of these changes, every stored palace and every seed of a report changes meaning.
@pytest.mark.parametrize(
    ("seed", "number", "dimension", "revision", "wanted"),
    [
        (0, 0, 4, 0, [0.663421630859375, -0.031005859375, 0.548095703125, -0.122772216796875]),
        (7, 41, 3, 0, [0.502777099609375, 0.161285400390625, -0.64837646484375]),
        (7, 41, 3, 2, [0.13580322265625, 0.36199951171875, -0.054412841796875]),
        (2**32 - 1, 9_000_011, 2, 1, [0.00872802734375, -0.1920166015625]),
    ],
)
def test_a_vector_is_what_it_always_was(
    seed: int, number: int, dimension: int, revision: int, wanted: list[float]
) -> None:
    assert vector(seed, number, dimension, revision=revision) == wanted


def test_a_hundred_vectors_are_what_they_always_were() -> None:
    hashed = hashlib.sha256()
    for seed, number in itertools.product(range(2), range(50)):
        hashed.update(struct.pack("<384d", *vector(seed, number, 384)))
    assert hashed.hexdigest() == (
        "9ab34070b7977b5d382ff07f8281ba39a18dffd7542e1ffe89f8d71238789044"
    )


@given(SEEDS, NUMBERS, DIMENSIONS, st.integers(0, 99))
def test_a_vector_depends_on_nothing_else(
    seed: int, number: int, dimension: int, revision: int
) -> None:
    made = vector(seed, number, dimension, revision=revision)
    assert made == vector(seed, number, dimension, revision=revision)
    assert len(made) == dimension
    assert all(-1 <= value < 1 for value in made)
    # chromadb keeps float32: nothing is lost on the way there and back.
    assert np.asarray(made, dtype=np.float32).astype(float).tolist() == made
    # A shorter vector is the beginning of a longer one: the dimension is not part of its name.
    assert vector(seed, number, dimension + 1, revision=revision)[:dimension] == made


def test_every_drawer_is_its_own_nearest_with_room_to_spare() -> None:
    rows = [
        vector(seed, number, 16, revision=revision)
        for seed, revision in itertools.product((0, 1), (0, 1))
        for number in range(250)
    ]
    made = np.asarray(rows)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    alike = made @ made.T
    np.fill_diagonal(alike, -1)
    assert alike.max() < 0.95


def test_names_cannot_run_into_each_other() -> None:
    """Seed 1 and drawer 11 are not seed 11 and drawer 1, nor a revision of drawer 1."""
    names = [(1, 11, 0), (11, 1, 0), (1, 1, 10), (1, 1, 1), (1, 110, 0), (11, 10, 0)]
    made = {tuple(vector(seed, number, 8, revision=rev)) for seed, number, rev in names}
    assert len(made) == len(names)


@given(NUMBERS)
def test_an_id_leads_back_to_its_number(number: int) -> None:
    assert drawer_number(drawer_id(number)) == number
    assert len(drawer_id(number)) == 8


@given(st.lists(NUMBERS))
def test_ids_sort_as_their_numbers_do(numbers: list[int]) -> None:
    assert sorted(map(drawer_id, numbers)) == [drawer_id(number) for number in sorted(numbers)]


@pytest.mark.parametrize("name", ["", "d", "x0000001", "wing/room/1", "d000000x", "d-000001", "D1"])
def test_an_id_no_workload_made_has_no_number(name: str) -> None:
    assert drawer_number(name) is None


def test_a_revision_has_a_text_of_its_own() -> None:
    assert len({document(number, revision) for number in (1, 2, 12) for revision in (0, 1)}) == 6


@given(NUMBERS, st.integers(0, 99))
def test_a_text_says_which_revision_it_is(number: int, revision: int) -> None:
    text = document(number, revision)
    assert revision_of(number, text) == revision
    assert revision_of(number + 1, text) == -1
    for other in (
        None,
        "",
        f"{text} ",
        f"{text}\u0661",
        text.replace(" ", "  ", 1),
        text[:-1] + "x",
    ):
        assert revision_of(number, other) == -1
