"""The identity of a model, and the stand-in for one."""

import hashlib
from typing import Any

import numpy as np
import pytest

from palace_store.embedding import HashEmbedder, Identity, check_embedder, vectors_of
from palace_store.errors import PalaceInputError

TEXTS = [
    "the cat sat on the mat",
    "a cat sat on that mat",
    "quarterly revenue rose by nine percent",
    "",
    "Grüße",
    "\ud800",
]


def test_two_models_of_one_dimension_differ_and_each_keeps_to_itself() -> None:
    one, other = HashEmbedder("stand-in-a", 384), HashEmbedder("stand-in-b", 384)
    first, second = one.embed(TEXTS), other.embed(TEXTS)
    assert first.shape == second.shape == (6, 384)
    assert first.dtype == np.float32
    assert np.array_equal(first, HashEmbedder("stand-in-a", 384).embed(TEXTS))
    assert np.linalg.norm(first, axis=1) == pytest.approx(np.ones(6), abs=1e-6)
    assert np.abs((first * second).sum(axis=1)).max() < 0.25
    assert one.identity != other.identity
    assert one.identity.dimension == other.identity.dimension


def test_texts_that_share_words_are_near_and_no_two_are_the_same() -> None:
    vectors = HashEmbedder().embed(TEXTS)
    near = vectors @ vectors.T
    assert near[0, 1] > 0.5
    assert near[0, 2] < 0.25
    assert near[np.triu_indices(6, 1)].max() < 0.95
    again = HashEmbedder().embed(["mat cat the sat on the", TEXTS[0]])
    assert 0.9 < again[0] @ again[1] < 0.9999


def test_the_same_text_in_another_form_of_unicode_is_the_same() -> None:
    composed, decomposed = HashEmbedder().embed(["Gr\u00fc\u00dfe", "Gru\u0308\u00dfe"])
    assert np.array_equal(composed, decomposed)


def test_the_vectors_are_the_same_on_every_machine() -> None:
    made = HashEmbedder("stand-in-a", 8).embed(["one drawer"])
    assert hashlib.sha256(made.astype("<f4").tobytes()).hexdigest() == (
        "ea8c3ea922712602839177bd7ef5a58bf2f791e0ce21c6d7b825383af9519b5a"
    )


@pytest.mark.parametrize("dimension", [1, 2, 7, 9, 1024])
def test_any_dimension_gives_vectors_with_a_direction(dimension: int) -> None:
    vectors = HashEmbedder("m", dimension).embed(TEXTS)
    assert vectors.shape == (6, dimension)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(6), abs=1e-6)


def test_an_identity_is_read_back_as_it_was_written_and_named_in_words() -> None:
    identity = Identity("ollama", "nomic-embed-text", 768, normalised=False, revision="v1.5")
    assert Identity.parse(identity.word()) == identity
    assert str(identity) == "ollama/nomic-embed-text@v1.5 (768 dimensions, not normalised)"
    assert str(HashEmbedder().identity) == "stand-in/stand-in-a@1 (384 dimensions, normalised)"


@pytest.mark.parametrize(
    "word",
    ["", "null", "[]", "{}", '{"provider":1}', "[" * 100_000, '{"model":"m","dimension":3}'],
)
def test_what_names_no_model_is_refused(word: str) -> None:
    with pytest.raises(PalaceInputError, match="names no embedding model"):
        Identity.parse(word)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("provider", ""),
        ("model", " m"),
        ("model", "a\nb"),
        ("revision", None),
        ("model", "m" * 201),
        ("dimension", 0),
        ("dimension", 65_537),
        ("dimension", True),
        ("dimension", 3.0),
        ("normalised", 1),
    ],
)
def test_an_identity_says_what_is_wrong_with_it(field: str, value: object) -> None:
    values: dict[str, Any] = {
        "provider": "p",
        "model": "m",
        "dimension": 3,
        "normalised": True,
        "revision": "",
        field: value,
    }
    with pytest.raises(PalaceInputError, match=field if field != "dimension" else "dimensions"):
        Identity(**values)


@pytest.mark.parametrize("texts", ["one text", [b"bytes"], [None], 3])
def test_what_is_no_text_is_refused(texts: Any) -> None:
    with pytest.raises(PalaceInputError, match="text"):
        HashEmbedder().embed(texts)


def test_a_field_that_is_wrong_is_named_where_an_identity_is_read() -> None:
    word = HashEmbedder().identity.word().replace("384", '"384"')
    with pytest.raises(PalaceInputError, match="dimensions, not of '384'"):
        Identity.parse(word)


@pytest.mark.parametrize("embedder", [None, "stand-in-a", HashEmbedder])
def test_what_cannot_say_which_model_it_is_is_no_embedder(embedder: Any) -> None:
    with pytest.raises(PalaceInputError, match="is no embedder"):
        check_embedder(embedder)


def test_a_model_that_makes_too_few_vectors_is_refused() -> None:
    class Lazy:
        identity = HashEmbedder("m", 8).identity

        def embed(self, texts: Any) -> Any:
            return HashEmbedder("m", 8).embed(texts[:1]).tolist()

    assert vectors_of(Lazy(), {"one": "a text"}).keys() == {"one"}
    with pytest.raises(PalaceInputError, match="of 2 texts"):
        vectors_of(Lazy(), {"one": "a text", "two": "another"})


def test_a_model_that_makes_rows_of_different_lengths_is_refused() -> None:
    class Ragged:
        identity = HashEmbedder("m", 2).identity

        def embed(self, texts: Any) -> Any:
            return [[1.0] * (2 + number) for number, _ in enumerate(texts)]

    with pytest.raises(PalaceInputError, match="rows of different lengths"):
        vectors_of(Ragged(), {"one": "a text", "two": "another"})


def test_what_makes_no_vectors_is_no_embedder() -> None:
    class Mute:
        identity = HashEmbedder("m", 2).identity

    with pytest.raises(PalaceInputError, match="it has no `embed`"):
        check_embedder(Mute())  # type: ignore[arg-type]  # the point
