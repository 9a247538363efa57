"""A row as the remote sends it, and a page of them: looked at before anything believes it.

Whatever is wrong with one is told with it and keeps back no other.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeGuard

from palace_store.local.memory import Memory, content_of, id_of, metadata_text, namespace_of

#: The largest number that SQLite can keep.
NUMBER_MAX = 2**63 - 1
_SHOWN_CHARACTERS = 200
#: Deeper than any row that is kept, and no trouble for a reader.
_DEPTH_MAX = 300
_TOKENS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_DIGITS_MAX = 4300  # from 3.11 on Python refuses longer ones, and with them all that is around
_HISTORY_CHARACTERS_MAX = 200
_DATE = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d)?(\.\d{1,9})?)?(?:Z|([+-])(\d\d):?(\d\d))?",
    re.ASCII,
)


@dataclass(frozen=True)
class Row:
    """One row of the remote: a memory, or None for one that was deleted."""

    id: int
    memory: Memory | None


@dataclass(frozen=True)
class Page:
    """A part of what changed after a number; `next` is where the following part begins.

    `unread` are the ids of memories whose rows are malformed, as far as their words can be read.
    `history` is another one once the numbers mean other memories, "" if the remote does not say.
    """

    rows: tuple[Row, ...]
    malformed: tuple[str, ...]
    next: int
    more: bool
    history: str = ""
    unread: tuple[str, ...] = ()


class Stored(NamedTuple):
    """What the remote says of a store: the number, whether that was deleted since, its history."""

    number: int
    gone: bool
    history: str = ""


def row_of(raw: Any) -> Row:
    """Return a row as the remote sent it, checked; raises what is wrong with it."""
    number = raw["id"]
    if not is_number(number):
        raise ValueError(f"its id is no whole number from 1 to {NUMBER_MAX}")
    if raw.get("deleted") is True:
        return Row(number, None)
    content, namespace = content_of(raw["content"]), namespace_of(raw["namespace"])
    created, metadata = _created_of(raw["created"]), raw["metadata"]
    if not isinstance(metadata, dict):
        raise TypeError("metadata is no object")
    metadata_text(metadata)
    return Row(number, Memory(id_of(namespace, content), content, namespace, created, metadata))


def rows_of(raws: Iterable[Any]) -> tuple[list[Row], list[str], list[str]]:
    """Return the rows that are well formed, a sentence for each other one, and `Page.unread`."""
    good, malformed, unread = list[Row](), list[str](), list[str]()
    for raw in raws:
        try:
            good.append(row_of(raw))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            malformed.append(f"is malformed ({error!r}): {_shown(raw)}")
            with suppress(AttributeError, KeyError, TypeError, ValueError):
                unread.append(id_of(namespace_of(raw["namespace"]), content_of(raw["content"])))
    return good, malformed, unread


def loaded(text: bytes) -> Any:
    """Return JSON as data; what Python would not read of it is no number there, and so no good."""
    try:
        return json.loads(text, parse_int=_whole)
    except RecursionError:
        return json.loads(_flattened(text), parse_int=_whole)


def is_number(value: object) -> TypeGuard[int]:
    """Tell whether a value is a number that the remote may give to a row."""
    return type(value) is int and 1 <= value <= NUMBER_MAX


def history_of(raw: Any) -> str:
    """Return the name a remote gives to its history, "" for none or one that fits no header."""
    if not isinstance(raw, str) or len(raw) > _HISTORY_CHARACTERS_MAX:
        return ""
    return raw if raw.isascii() and raw.isprintable() and '"' not in raw else ""


def _created_of(raw: Any) -> str:
    """Return a date in ISO form as one of ours: UTC, so that dates compare as texts do."""
    parts = _DATE.fullmatch(raw) if isinstance(raw, str) else None
    if parts is None:
        raise ValueError("created is no date such as 2025-01-31T12:00:00+00:00")
    day, time, seconds, fraction, sign, hours, minutes = parts.groups()
    told = datetime.fromisoformat(f"{day}T{time or '00:00'}{seconds or ':00'}+00:00")
    told += timedelta(seconds=float(fraction or 0))
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    try:
        return (told + offset if sign == "-" else told - offset).isoformat()
    except OverflowError as error:
        raise ValueError(f"created is no date: {error}") from error


def _shown(raw: Any) -> str:
    try:
        return json.dumps(raw)[:_SHOWN_CHARACTERS]
    except RecursionError:
        return "it is nested too deeply to be shown"


def _whole(digits: str) -> float:
    return int(digits) if len(digits) <= _DIGITS_MAX else math.inf


def _flattened(text: bytes) -> bytes:
    """Return JSON without what is nested deeper than `_DEPTH_MAX`."""
    kept, depth, begin = list[bytes](), 0, 0
    for token in _TOKENS.finditer(text):
        if token.group() in b"[{":
            depth += 1
            if depth == _DEPTH_MAX:
                kept.append(text[begin : token.start()] + b"NaN")
                begin = len(text)
        elif token.group() in b"]}":
            if depth == _DEPTH_MAX:
                begin = token.end()
            depth -= 1
    return b"".join([*kept, text[begin:]])
