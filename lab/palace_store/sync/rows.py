"""A row as the remote sends it, and a page of them: looked at before anything believes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from palace_store.local.memory import Memory, content_of, id_of, namespace_of

_HISTORY_CHARACTERS_MAX = 200


@dataclass(frozen=True)
class Row:
    """One row of the remote: a memory, or None for one that was deleted."""

    id: int
    memory: Memory | None


@dataclass(frozen=True)
class Page:
    """A part of what changed after a number; `next` is where the following part begins.

    `history` is another one once the numbers mean other memories, "" if the remote does not say.
    """

    rows: tuple[Row, ...]
    malformed: tuple[str, ...]
    next: int
    more: bool
    history: str = ""


class Stored(NamedTuple):
    """What the remote says of a store: the number, whether that was deleted since, its history."""

    number: int
    gone: bool
    history: str = ""


def row_of(raw: Any) -> Row:
    """Return a row as the remote sent it, checked; raises what is wrong with it."""
    number = raw["id"]
    if type(number) is not int or number < 1:
        raise ValueError("its id is no number")
    if raw.get("deleted") is True:
        return Row(number, None)
    content, namespace = content_of(raw["content"]), namespace_of(raw["namespace"])
    if not isinstance(raw["created"], str) or not isinstance(raw["metadata"], dict):
        raise TypeError("created is no text or metadata no object")
    memory_id = id_of(namespace, content)
    return Row(number, Memory(memory_id, content, namespace, raw["created"], raw["metadata"]))


def history_of(raw: Any) -> str:
    """Return the name a remote gives to its history, "" for none or one that fits no header."""
    if not isinstance(raw, str) or len(raw) > _HISTORY_CHARACTERS_MAX:
        return ""
    return raw if raw.isascii() and raw.isprintable() and '"' not in raw else ""
