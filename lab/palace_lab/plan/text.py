"""A plan as text: versioned, readable, one value a line; the same plan always gives the same bytes.

The text is JSON with two spaces of indentation, so that two plans can be compared line by line.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from palace_lab.errors import UsageError
from palace_lab.plan.mistakes import check_plan
from palace_lab.plan.model import VERSION, Plan

_BYTES_MAX = 4 * 1024 * 1024
# Made here, before any thread: two threads that meet a type for the first time at once end in a
# SIGSEGV (msgspec 0.22, in 35 of 60 interpreters with eight threads, measured).
_PLANS = msgspec.json.Decoder(Plan)
_OBJECTS = msgspec.json.Decoder(dict)


def dump_plan(plan: Plan) -> bytes:
    """Return the text of a plan, after making sure that it can be read back.

    A whole number where a plan has seconds is written as one with a point, so that a plan that was
    read back gives the same bytes again.
    """
    read_back = parse_plan(msgspec.json.encode(plan), f"what is to be written as {plan.name!r}")
    raw = msgspec.json.encode(read_back, order="deterministic")
    return msgspec.json.format(raw, indent=2) + b"\n"


def load_plan(path: Path) -> Plan:
    """Read a plan that can be played; what is wrong with it is said in one sentence.

    Only a file is read, and what is given on standard input, as a report has it: any other pipe may
    be waited for without end. A key that an object has twice is refused, for one of the two would
    count for nothing.
    """
    try:
        raw = _content(path)
    except OSError as error:
        raise UsageError(
            f"cannot read the plan {path}: {error.strerror}; a run keeps its plans under "
            "reports/<run>/plans"
        ) from None
    if len(raw) > _BYTES_MAX:
        raise UsageError(f"{path} has over {_BYTES_MAX} bytes; that is no plan of this lab")
    plan = parse_plan(raw, str(path))
    if twice := _key_twice(raw):
        raise UsageError(
            f"{path} has the key {twice!a:.80} twice in one object: leave one of the two away"
        )
    return check_plan(plan, str(path))


def _content(path: Path) -> bytes:
    """Return a file, of one that is too long a byte more than it may have."""
    with open(path, "rb", opener=_without_waiting) as file:
        found = os.fstat(file.fileno())
        if stat.S_ISREG(found.st_mode):
            return file.read(_BYTES_MAX + 1)
        if not (stat.S_ISFIFO(found.st_mode) and os.path.samestat(found, os.fstat(0))):
            raise OSError(errno.EINVAL, "It is not a file")
    with open(0, "rb", closefd=False) as given:
        return given.read(_BYTES_MAX + 1)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _key_twice(raw: bytes) -> str | None:
    """Return a key that an object of this JSON has twice; None if there is none."""
    twice: list[str] = []

    def look(pairs: list[tuple[str, Any]]) -> None:
        twice.extend(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)

    json.loads(raw, object_pairs_hook=look, parse_int=len, parse_float=len)  # of any length
    return twice[0] if twice else None


def parse_plan(raw: bytes, where: str) -> Plan:
    """Turn the text of a plan into a plan, which may make no sense yet: see `check_plan`."""
    try:
        version = _OBJECTS.decode(raw).get("version")
        if version != VERSION:
            raise UsageError(f"{where} is a plan of version {version}; this lab reads {VERSION}")
        return _PLANS.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{where} is not a plan: {error}") from None
