"""Input of the drawers, refused in one sentence before anything is written.

chromadb finds some of these only after part of its work is done; then nobody can tell what has
happened. Others it takes and stores half: 0.6.3 keeps a row without the document that holds half a
surrogate pair, 1.x a row without a metadata value that is infinite (both measured).
Limits: 512 bytes an id, 65,536 dimensions, integers of 64 bits.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palace_store.errors import PalaceInputError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_ADDRESS = re.compile(r"\d+(\.\d+){3}")
_ID_BYTES_MAX = 512
_DIMENSIONS_MAX = 65_536
_SHOWN_MAX = 60
_SPACES = ("cosine", "ip", "l2")
_THRESHOLD_MIN = 3  # chromadb 0.x wants more than 2

Metadata = Mapping[str, Any]


def check_settings(space: str, sync_threshold: int, batch_size: int) -> None:
    """Refuse index settings that some release would refuse when a collection is made."""
    if space not in _SPACES:
        raise PalaceInputError(f"space {space!r} is none of chromadb's: {', '.join(_SPACES)}")
    for name, value in (("sync_threshold", sync_threshold), ("batch_size", batch_size)):
        if type(value) is not int or value < _THRESHOLD_MIN:
            raise PalaceInputError(f"{name} is a number of drawers from 3 on, not {value!r}")


def check_name(name: str) -> str:
    """Return a collection's name, or say what is wrong with it."""
    if (
        not isinstance(name, str)
        or not _NAME.fullmatch(name)
        or ".." in name
        or _ADDRESS.fullmatch(name)
    ):
        raise PalaceInputError(
            f"{_shown(name)} cannot name a collection: 3 to 63 letters, digits, '.', '_' or '-', "
            "beginning and ending with a letter or digit, without '..', and no IP address; "
            "nothing was written"
        )
    return name


def check_ids(ids: Sequence[str]) -> list[str]:
    """Return the ids; refuses an empty list, a repeated id, one that cannot be stored as it is."""
    if not isinstance(ids, Sequence) or isinstance(ids, str | bytes) or not ids:
        raise PalaceInputError("ids must be a list with at least one id; nothing was written")
    for name in ids:
        if not isinstance(name, str) or not name or "\0" in name:
            raise PalaceInputError(
                f"{_shown(name)} cannot be an id: it is empty, no text, or holds NUL; "
                "nothing was written"
            )
        size = len(_encoded(name, "an id"))
        if size > _ID_BYTES_MAX:
            raise PalaceInputError(
                f"an id of {size} bytes is longer than {_ID_BYTES_MAX}; nothing was written"
            )
    if len(set(ids)) != len(ids):
        repeated = Counter(ids).most_common(1)[0][0]
        raise PalaceInputError(
            f"id {_shown(repeated)} comes twice in one call; nothing was written"
        )
    return list(ids)


def check_size(size: int, most: int) -> None:
    """Refuse more drawers in one call than this chromadb takes."""
    if size > most:
        raise PalaceInputError(
            f"{size} drawers came in one call and this chromadb takes {most}; nothing was written: "
            "divide them over several calls"
        )


def check_vectors(vectors: Sequence[Sequence[float]], expected: int) -> NDArray[np.float32]:
    """Return the vectors as one array, or refuse a wrong number, mixed lengths, NaN, infinity."""
    try:
        dimensions = sorted(set(map(len, vectors)))
    except TypeError:
        raise PalaceInputError(
            "vectors must be a list of lists of numbers; nothing was written"
        ) from None
    if len(vectors) != expected or expected == 0:
        raise PalaceInputError(
            f"{expected} ids came with {len(vectors)} vectors; nothing was written"
        )
    if len(dimensions) != 1 or not 1 <= dimensions[0] <= _DIMENSIONS_MAX:
        raise PalaceInputError(
            f"vectors have {dimensions} dimensions; they must all have the same number, "
            f"from 1 to {_DIMENSIONS_MAX}; nothing was written"
        )
    try:
        with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused
            array = np.asarray(vectors, dtype=np.float32)
            flat = array.ravel()
            # One by one, which takes longer, only where all together are too much.
            finite = math.isfinite(np.dot(flat, flat)) or [
                math.isfinite(np.dot(row, row)) for row in array
            ]
    except (TypeError, ValueError, OverflowError) as error:
        raise PalaceInputError(
            f"a vector is no list of numbers ({error}); nothing was written"
        ) from None
    # An index computes in 32 bits: with a longer vector, every distance is infinite.
    if not np.all(finite):
        raise PalaceInputError(
            f"vector {int(np.argmin(finite))} holds a value, or has a length, that is not a "
            "finite 32-bit number; nothing was written"
        )
    return array


def check_fit(array: NDArray[np.float32], dimension: int | None, *, directed: bool = False) -> None:
    """Refuse vectors that do not fit the collection they are meant for.

    `directed`: it compares directions (cosine), so that a vector has to have one.
    """
    if dimension is not None and array.shape[1] != dimension:
        raise PalaceInputError(
            f"vectors of {array.shape[1]} dimensions came to a collection of {dimension}; "
            "nothing was written"
        )
    if directed:
        with np.errstate(under="ignore"):
            has_one = np.einsum("ij,ij->i", array, array) > 0
        if not has_one.all():
            raise PalaceInputError(
                f"vector {int(np.argmin(has_one))} has length 0, so it has no direction by which "
                "a collection in cosine space could find it; nothing was written"
            )


def check_documents(documents: Sequence[str | None] | None, expected: int) -> list[Any] | None:
    """Return the documents, one an id; refuses what is no text, or text nothing can store."""
    if documents is None:
        return None
    column = _column(documents, expected, "documents")
    for text in column:
        if text is not None:
            if not isinstance(text, str):
                raise PalaceInputError(f"{_shown(text)} is no document; nothing was written")
            _encoded(text, "a document")
    return column


def check_metadatas(metadatas: Sequence[Metadata | None] | None, expected: int) -> list[Any] | None:
    """Return the metadata, one an id; refuses what some release drops or stores differently."""
    if metadatas is None:
        return None
    column = _column(metadatas, expected, "metadatas")
    for metadata in column:
        if metadata is not None:
            if not isinstance(metadata, dict) or not metadata:
                raise PalaceInputError(
                    f"metadata {_shown(metadata)} is no dict with something in it; write None for "
                    "a drawer without metadata; nothing was written"
                )
            for key, value in metadata.items():
                _check_entry(key, value)
    return column


def _check_entry(key: object, value: object) -> None:
    if not isinstance(key, str) or not key or key.startswith(("#", "$", "chroma:")):
        raise PalaceInputError(
            f"{_shown(key)} cannot be a key of metadata: a text that begins neither with '#', '$' "
            "nor 'chroma:'; nothing was written"
        )
    _encoded(key, "a key of metadata")
    if type(value) is str:
        _encoded(value, f"metadata {_shown(key)}")
    elif not (
        type(value) is bool
        or (type(value) is int and -(2**63) <= value < 2**63)
        or (type(value) is float and math.isfinite(value))
    ):
        raise PalaceInputError(
            f"metadata {_shown(key)} is {_shown(value)}: neither text, true or false, a 64-bit "
            "integer, nor a finite number; nothing was written"
        )


def _column(column: Sequence[Any], expected: int, what: str) -> list[Any]:
    if isinstance(column, str) or not isinstance(column, Sequence) or len(column) != expected:
        size = len(column) if hasattr(column, "__len__") else "no list of"
        raise PalaceInputError(f"{expected} ids came with {size} {what}; nothing was written")
    return list(column)


def _encoded(text: str, what: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise PalaceInputError(
            f"{what} holds half a surrogate pair, which no file can store: {_shown(text)}; "
            "nothing was written"
        ) from None


def _shown(value: object) -> str:
    text = ascii(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}… ({len(text)} characters)"
