"""What turns a text into a vector, and the name of the model that did it (S3).

* An `Identity` tells two models apart also where their vectors have the same dimension: the
  report's stores ended with vectors of two models, and a comparison of dimensions saw nothing.
* An `Embedder` is whatever has an identity and gives one vector a text. It must give the same
  text the same vector for as long as its identity is the same: a new revision is a new identity.
* `HashEmbedder` is a stand-in, no model: it downloads nothing and knows nothing of meaning. Words
  that two texts share bring their vectors near each other, which is what a test of a store needs.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray

from palace_store.errors import PalaceInputError
from palace_store.validation import check_vectors

_DIMENSIONS_MAX = 65_536
_NAME_MAX = 200
_WORD = re.compile(r"\w+")
#: A word counts this many times as much as the whole text, which only keeps two texts apart that
#: have the same words.
_WORD_WEIGHT = 4


@dataclass(frozen=True)
class Identity:
    """Which model made a vector: provider, model, dimension, whether of length 1, and revision.

    Raises `PalaceInputError` for what can name no model. Two identities that differ in anything
    are two models, whose vectors must not be compared with each other.
    """

    provider: str
    model: str
    dimension: int
    normalised: bool
    revision: str

    def __post_init__(self) -> None:
        for field, least in (("provider", 1), ("model", 1), ("revision", 0)):
            value = getattr(self, field)
            if (
                not isinstance(value, str)
                or not least <= len(value) <= _NAME_MAX
                or not (value.isprintable() and value == value.strip())
            ):
                raise PalaceInputError(
                    f"{field} {value!r:.80} cannot name an embedding model: it is a printable text "
                    f"of {least} to {_NAME_MAX} characters, without spaces around it"
                )
        if type(self.dimension) is not int or not 1 <= self.dimension <= _DIMENSIONS_MAX:
            raise PalaceInputError(
                f"a model gives vectors of 1 to {_DIMENSIONS_MAX} dimensions, not of "
                f"{self.dimension!r:.80}"
            )
        if type(self.normalised) is not bool:
            raise PalaceInputError(f"normalised is True or False, not {self.normalised!r:.80}")

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        length = "normalised" if self.normalised else "not normalised"
        return f"{self.provider}/{self.model}{revision} ({self.dimension} dimensions, {length})"

    def word(self) -> str:
        """Return the identity as one text, the same for equal identities; `parse` reads it."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def parse(cls, word: str) -> Identity:
        """Read back what `word` wrote; raises `PalaceInputError` for anything else."""
        try:
            return cls(**json.loads(word))
        except PalaceInputError:
            raise  # it says which of the fields is wrong
        except (TypeError, ValueError, RecursionError):
            raise PalaceInputError(
                f"{word!r:.80} names no embedding model: it is not what `Identity.word` writes"
            ) from None


def told_apart(one: Identity, other: Identity) -> tuple[str, str]:
    """Return a text of each; of two that would read alike, all of their fields."""
    alike = str(one) == str(other)
    return (one.word(), other.word()) if alike else (str(one), str(other))


class Embedder(Protocol):
    """A model: what it is, and what it makes of texts."""

    @property
    def identity(self) -> Identity:
        """Which model this is."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one row for each text, `len(texts)` × `identity.dimension`."""


def check_embedder(embedder: Embedder) -> Embedder:
    """Return the embedder, or refuse what cannot say which model it is."""
    if not isinstance(getattr(embedder, "identity", None), Identity):
        raise PalaceInputError(
            f"{embedder!r:.80} is no embedder: it has no `identity` that says which model it is; "
            "pass one that has, such as `HashEmbedder()`"
        )
    if not callable(getattr(embedder, "embed", None)):
        raise PalaceInputError(
            f"{embedder!r:.80} is no embedder: it has no `embed` that makes vectors of texts; pass "
            "one that has, such as `HashEmbedder()`"
        )
    return embedder


def vectors_of(embedder: Embedder, texts: Mapping[str, str]) -> dict[str, list[float]]:
    """Return the vector of each text under the name it came with; refuses what fits no collection.

    Raises `PalaceInputError` where the model does not make what its identity says.
    """
    if not texts:
        return {}
    answer = embedder.embed(list(texts.values()))
    try:
        made = np.asarray(answer)
    except ValueError as error:
        raise PalaceInputError(
            f"{embedder.identity} made rows of different lengths ({error}); nothing was written"
        ) from None
    if made.shape != (len(texts), embedder.identity.dimension):
        raise PalaceInputError(
            f"{embedder.identity} made an array of shape {made.shape} of {len(texts)} texts; "
            "nothing was written"
        )
    return dict(zip(texts, check_vectors(made.tolist(), len(texts)).tolist(), strict=True))


@final
class HashEmbedder:
    """A stand-in for a model: each word gives signs that are drawn from its hash, and they add up.

    The model's name is hashed with every word, so two models of one dimension give the same text
    vectors that have nothing to do with each other. All numbers are whole until the last division:
    the vectors are the same, bit by bit, on every machine and release of numpy.
    """

    def __init__(self, model: str = "stand-in-a", dimension: int = 384) -> None:
        self.identity = Identity("stand-in", model, dimension, normalised=True, revision="1")

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector of length 1 for each text; raises `PalaceInputError` for no text."""
        if isinstance(texts, str) or not isinstance(texts, Sequence):
            raise PalaceInputError("texts must be a list of texts")
        made = np.empty((len(texts), self.identity.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            if not isinstance(text, str):
                raise PalaceInputError(f"text {row} is {type(text).__name__}, not text")
            made[row] = self._vector(unicodedata.normalize("NFC", text))
        return made

    def _vector(self, text: str) -> NDArray[np.float64]:
        total = self._signs("text", text)
        for word, times in Counter(_WORD.findall(text.casefold())).items():
            total += _WORD_WEIGHT * times * self._signs("word", word)
        if not total.any():  # signs that cancel out: no direction would be left
            total[0] = 1
        return total / math.sqrt(int(total @ total))

    def _signs(self, kind: str, what: str) -> NDArray[np.int64]:
        seed = f"{self.identity.model}\0{kind}\0{what}".encode("utf-8", "surrogatepass")
        size = self.identity.dimension
        drawn = hashlib.shake_256(seed).digest((size + 7) // 8)
        bits = np.unpackbits(np.frombuffer(drawn, dtype=np.uint8), count=size)
        return bits.astype(np.int64) * 2 - 1
