"""What the sync engine says of itself: one round, one parked operation, the whole state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["not begun", "in sync", "behind", "unreachable", "local only"]


@dataclass(frozen=True)
class Parked:
    """An operation that was given up, never dropped: the memory it is about, and why."""

    id: str
    content: str
    operation: Literal["store", "delete"]
    attempts: int
    reason: str


@dataclass(frozen=True)
class Round:
    """What one round did; `problems` are sentences, none if all went well.

    `denied` says that the remote refused the key, `away` that it did not answer anything,
    `compared` that everything was compared, as far as it could be read.
    """

    pulled: int = 0
    pushed: int = 0
    problems: tuple[str, ...] = ()
    denied: bool = False
    away: bool = False
    compared: bool = False

    def __add__(self, other: Round) -> Round:
        return Round(
            self.pulled + other.pulled,
            self.pushed + other.pushed,
            (*self.problems, *other.problems),
            self.denied or other.denied,
            self.away or other.away,
            self.compared or other.compared,
        )


@dataclass(frozen=True)
class Status:
    """How things stand. `remote` is the remote's own count, None where it did not say.

    "local only" is a key that the remote refuses, "behind" whatever else is not alike yet: an
    operation that is to be told or was given up, a row that could not be read, memories that wait
    for a list without such rows. `reason` is the sentence of the first problem there is.
    """

    state: State
    reason: str
    local: int
    remote: int | None
    pending: int
    parked: tuple[Parked, ...]


def state_of(last: Round | None, *, alike: bool) -> State:
    """Return the state after a last round; `alike` says that nothing is left to be done."""
    if last is None:
        return "not begun"
    if last.denied:
        return "local only"
    if last.away:
        return "unreachable"
    return "in sync" if alike else "behind"
