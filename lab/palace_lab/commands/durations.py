"""Amounts as a command line has them: `8h`, `1h30m`, `90s` and `20GB`, `500MB`.

Both functions are types for `click.option`. Sizes are in powers of 1000, as they are printed.
"""

from __future__ import annotations

import re

from palace_lab.errors import UsageError

_SECONDS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?:\d{1,9}(?:\.\d{1,3})?[dhms])+", re.ASCII)
_PART = re.compile(r"([\d.]+)([dhms])", re.ASCII)
_BYTES = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,3})?) ?([KMGT]?)B?", re.ASCII | re.IGNORECASE)
DURATION_S_MAX = 366 * 86_400.0
SIZE_BYTES_MAX = 10**16


def seconds_of(text: str) -> float:
    """Return seconds for "8h", "1h30m", "90s" or "2d"; raises `UsageError` for anything else."""
    plain = text.strip()
    seconds = 0.0
    if _DURATION.fullmatch(plain):
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(plain))
    if not 0 < seconds <= DURATION_S_MAX:
        raise UsageError(
            f"{text[:40]!r} is no duration: write a number with d, h, m or s, as in 8h, 1h30m or "
            "90s, above zero and at most a year"
        )
    return seconds


def bytes_of(text: str) -> int:
    """Return bytes for "20GB", "500MB" or "0.5 GB"; raises `UsageError` for anything else."""
    found = _SIZE.fullmatch(text.strip())
    count = round(float(found[1]) * _BYTES[found[2].upper()]) if found else 0
    if not 0 < count <= SIZE_BYTES_MAX:
        raise UsageError(
            f"{text[:40]!r} is no size: write a number with MB or GB, as in 20GB or 500MB, above "
            "zero"
        )
    return count
