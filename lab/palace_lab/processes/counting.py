"""What the tracer keeps for each armed crash point and each held thread.

Rules: plain state, changed by the tracer alone. `others` are the points at which the held call
counts as one on its way, once it is let through.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from palace_lab.processes.points import CrashPoint, Hit


@dataclass
class Pending:
    """A point that was reached and waits for the calls before it to return."""

    tid: int
    hit: Hit
    deadline: float
    others: list[Armed]


@dataclass
class Armed:
    """A point with what has been counted for it."""

    point: CrashPoint
    seen: int = 0
    spent: bool = False
    on_their_way: set[int] = field(default_factory=set)
    pending: Pending | None = None

    def __post_init__(self) -> None:
        self.matches = self.point.matcher().match


@dataclass
class Held:
    """A thread that waits for main's answer."""

    hit: Hit
    deadline: float
    others: list[Armed]
