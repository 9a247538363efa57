"""What a knowledge graph must and may hold, by what its writers were told.

Rules: as for drawers (`expected`), *ok* happened, *fail* did not, everything else may have. Ends
are given a day of the plan's calendar; day 0 is the moment of the call, later than any of those.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from palace_lab.history.merge import Call
from palace_lab.plan.model import Plan

Key = tuple[str, int]  # whose triple it is, and its number
_NOW = 2**31
_NEVER = float("inf")


@dataclass(frozen=True)
class Fact:
    """One triple: told for certain or perhaps, ended for certain or perhaps."""

    certain: bool
    possible: bool
    ended: bool
    days: tuple[int, ...]  # on which it may have ended

    def must_hold(self, day: int) -> bool:
        """Tell whether it held on that day, whatever became of the unknown calls."""
        return self.certain and all(end > day for end in self.days)

    def may_hold(self, day: int) -> bool:
        """Tell whether it may have held on that day."""
        return self.possible and not (self.ended and all(end <= day for end in self.days))


def facts_of(calls: Iterable[Call], plan: Plan) -> dict[Key, Fact]:
    """Return every triple anybody told or ended."""
    told: dict[Key, list[Call]] = {}
    ends: dict[Key, list[Call]] = {}
    for call in calls:
        if call.begin.op in ("triple", "end") and call.begin.count:
            name = call.begin.process
            owner = str(plan.process(name).options.get("graph", name))
            about = told if call.begin.op == "triple" else ends
            for number in range(call.begin.first, call.begin.first + call.begin.count):
                about.setdefault((owner, number), []).append(call)
    return {key: _fact(told.get(key, []), ends.get(key, [])) for key in {**told, **ends}}


def _fact(told: list[Call], ends: list[Call]) -> Fact:
    possible = [end for end in ends if end.phase != "fail"]
    known_ns = _all_told(told)
    return Fact(
        certain=any(call.phase == "ok" for call in told),
        possible=any(call.phase != "fail" for call in told),
        ended=any(end.phase == "ok" and known_ns < end.begin.time_ns for end in possible),
        days=tuple(sorted({end.begin.revision or _NOW for end in possible})),
    )


def _all_told(told: list[Call]) -> float:
    """Return when the triple was told, if ever: an end that began earlier found nothing."""
    ends = [None if call.end is None else call.end.time_ns for call in told if call.phase != "fail"]
    return max((_NEVER if at is None else at for at in ends), default=-1)
