"""A plan as text: versioned, readable, one value a line; the same plan always gives the same bytes.

The text is JSON with two spaces of indentation, so that two plans can be compared line by line.
"""

from __future__ import annotations

from pathlib import Path

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
    """Read a plan that can be played; what is wrong with it is said in one sentence."""
    try:
        with path.open("rb") as file:
            raw = file.read(_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(
            f"cannot read the plan {path}: {error.strerror}; a run keeps its plans under "
            "reports/<run>/plans"
        ) from None
    if len(raw) > _BYTES_MAX:
        raise UsageError(f"{path} has over {_BYTES_MAX} bytes; that is no plan of this lab")
    return check_plan(parse_plan(raw, str(path)), str(path))


def parse_plan(raw: bytes, where: str) -> Plan:
    """Turn the text of a plan into a plan, which may make no sense yet: see `check_plan`."""
    try:
        version = _OBJECTS.decode(raw).get("version")
        if version != VERSION:
            raise UsageError(f"{where} is a plan of version {version}; this lab reads {VERSION}")
        return _PLANS.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{where} is not a plan: {error}") from None
