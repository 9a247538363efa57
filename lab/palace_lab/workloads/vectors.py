"""The stand-in for an embedding model: a vector is a pure function of seed, drawer and revision.

It is no model: nothing about meaning is tested with it. Bytes of SHAKE-128 become numbers between
-1 and 1, so every Python, NumPy and machine makes the same vector, and two drawers are as unlike
as chance makes them: a drawer is its own nearest neighbour, with room to spare.
"""

from __future__ import annotations

import hashlib
import struct


def vector(seed: int, number: int, dimension: int, *, revision: int = 0) -> list[float]:
    """Return the vector of one drawer: `dimension` numbers in [-1, 1)."""
    name = f"{seed}/{number}/{revision}".encode()
    raw = hashlib.shake_128(name).digest(2 * dimension)
    return [value / 32768.0 for value in struct.unpack(f"<{dimension}h", raw)]


def drawer_id(number: int) -> str:
    """Return the id under which drawer `number` is stored."""
    return f"d{number:07d}"


def drawer_number(name: str) -> int | None:
    """Return the number behind an id, or None for an id no workload made."""
    digits = name[1:]
    if not (digits.isascii() and digits.isdigit()):
        return None
    return int(digits) if drawer_id(int(digits)) == name else None


def document(number: int, revision: int = 0) -> str:
    """Return the text of one drawer."""
    return f"drawer {number} revision {revision}"


def revision_of(number: int, text: str | None) -> int:
    """Return the revision of a drawer that has this text; -1 for a text no workload gave it."""
    digits = (text or "").rpartition(" ")[2]
    if not (digits.isascii() and digits.isdigit()):
        return -1
    return int(digits) if document(number, int(digits)) == text else -1
