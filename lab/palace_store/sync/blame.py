"""Whose fault it is where one operation meets an outage or a refused key, and the remote is well.

A filter in front of a remote refuses certain words with the answers of an outage (503) or of a
wrong key (403). Such an operation is passed over, so that it keeps back nobody else, and it is to
blame if the remote took a change of another one in the same round. While it takes none from anybody
that is an outage, or a key that may only read, and counts for nobody: then a round asks few, and
the next one others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

#: So many operations are passed over, one after the other, before a round gives up.
PASSED_MAX = 10


@final
class Turns:
    """Who comes first in a round: whoever was not passed over in the rounds before."""

    def __init__(self) -> None:
        self._passed: set[str] = set()

    def order(self, due: Sequence[str]) -> list[str]:
        """Return what is due in the order in which it is to be told."""
        self._passed &= set(due)
        if len(self._passed) == len(due):
            self._passed.clear()
        return sorted(due, key=self._passed.__contains__)

    def passed(self, memory_id: str) -> None:
        """Note that an operation was passed over."""
        self._passed.add(memory_id)
