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

    def spend_repeats(self) -> None:
        """Spend a point that acts on several calls once it has acted on the last of them."""
        point = self.point
        if point.repeat is not None and self.seen >= point.k + point.repeat - 1:
            self.spent = True


@dataclass
class Held:
    """A thread that waits for main's answer, or for its time to be over."""

    hit: Hit
    deadline: float
    others: list[Armed]
