"""What a memory is: words in a namespace, known by an id that follows from both.

* The same words in the same namespace are the same memory, on every machine: storing them again
  changes nothing, so a store may be repeated when its outcome is unknown.
* Words are kept as they are told: nothing is trimmed or normalised.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from palace_store.errors import PalaceInputError
from palace_store.plain_text import checked

#: Longest content and longest metadata, in bytes of UTF-8. Our choice: a whole chapter.
CONTENT_BYTES_MAX = 1024 * 1024
METADATA_BYTES_MAX = 64 * 1024
METADATA_DEPTH_MAX = 200  # what a JSON library of a client takes; our server's own takes 255
NAMESPACE_BYTES_MAX = 512
DEFAULT_NAMESPACE = "default"
_ID_CHARACTERS = 32  # 128 bits: no two memories of a person ever share one


class BadMemoryError(PalaceInputError):
    """What was asked cannot be stored or looked for; the sentence says why. Nothing was written."""


@dataclass(frozen=True)
class Memory:
    """One memory as it is stored; `created` is UTC, in ISO form."""

    id: str
    content: str
    namespace: str
    created: str
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)


def id_of(namespace: str, content: str) -> str:
    """Return the id of a memory; a NUL can be in neither part, so it keeps them apart."""
    return hashlib.sha256(f"{namespace}\0{content}".encode()).hexdigest()[:_ID_CHARACTERS]


def words(name: str, value: object, bytes_max: int) -> str:
    """Return the value if it is a text that can be stored; `name` is for the error."""
    return checked(
        name,
        value,
        bytes_max,
        error=BadMemoryError,
        too_long=lambda size: f"{name} has {size}, at most {bytes_max}: cut it",
    )


def content_of(value: object) -> str:
    """Return the content of a memory, checked."""
    return words("content", value, CONTENT_BYTES_MAX)


def namespace_of(value: object) -> str:
    """Return a namespace, checked."""
    return words("namespace", value, NAMESPACE_BYTES_MAX)


def metadata_text(value: object) -> str:
    """Return metadata as the JSON object it is stored as, or raise `BadMemoryError`."""
    if value is None:
        return "{}"
    if not isinstance(value, Mapping):
        raise BadMemoryError(f"metadata is {type(value).__name__}: pass a dict of plain JSON data")
    try:
        text = json.dumps(dict(value), allow_nan=False, sort_keys=True, ensure_ascii=False)
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise BadMemoryError(f"metadata is no JSON ({error}): pass plain data") from None
    if size > METADATA_BYTES_MAX:
        raise BadMemoryError(f"metadata has {size} bytes, at most {METADATA_BYTES_MAX}: cut it")
    inside: list[Any] = [value]
    for _ in range(METADATA_DEPTH_MAX):
        inside = [part for each in inside for part in _parts(each)]
    if inside:
        raise BadMemoryError(f"metadata is nested deeper than {METADATA_DEPTH_MAX}: flatten it")
    return text


def _parts(value: object) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def limit_of(value: object, most: int) -> int:
    """Return how many answers are wanted, checked."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise BadMemoryError(f"limit is {value!r:.40}: pass a whole number from 1 to {most}")
    return value
