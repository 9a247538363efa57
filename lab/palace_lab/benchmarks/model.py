"""Rounds of contestants, and the ratio between two of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from palace_lab.errors import LabError


@dataclass(frozen=True)
class Sample:
    """One run of one contestant: the figure, and what else was seen (longest wait, loss, …)."""

    figure: float
    seen: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Contestant:
    """What is measured; `run` does it once."""

    name: str
    run: Callable[[], Sample]


@dataclass(frozen=True)
class Bound:
    """The promise: figure of `contestant` over figure of `peer`, at least or at most `limit`."""

    contestant: str
    peer: str
    limit: float
    at_least: bool

    def holds(self, ratio: float) -> bool:
        """Tell whether a ratio keeps the promise."""
        return ratio >= self.limit if self.at_least else ratio <= self.limit

    def words(self) -> str:
        """Return the promise as it is printed."""
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}×"


@dataclass(frozen=True)
class Case:
    """One comparison: contestants, the unit of their figure, and the promises between them."""

    name: str
    unit: str
    contestants: tuple[Contestant, ...]
    bounds: tuple[Bound, ...] = ()


@dataclass
class Outcome:
    """What the rounds of a case gave."""

    case: Case
    samples: dict[str, list[Sample]]

    def figure(self, name: str) -> float:
        """Return the median figure of a contestant."""
        return statistics.median(sample.figure for sample in self.samples[name])

    def seen(self, name: str) -> dict[str, float]:
        """Return the worst (largest) of everything else that was seen of a contestant."""
        worst: dict[str, float] = {}
        for sample in self.samples[name]:
            for what, value in sample.seen.items():
                worst[what] = max(value, worst.get(what, value))
        return worst

    def ratio(self, bound: Bound) -> float:
        """Return the median over the rounds of the ratio within a round."""
        pairs = zip(self.samples[bound.contestant], self.samples[bound.peer], strict=True)
        return statistics.median(ours.figure / theirs.figure for ours, theirs in pairs)

    def broken(self) -> list[Bound]:
        """Return the promises that were not kept."""
        return [bound for bound in self.case.bounds if not bound.holds(self.ratio(bound))]


def measure(case: Case, rounds: int, tell: Callable[[str], None]) -> Outcome:
    """Run every contestant `rounds` times, in turns; the order moves on by one each round."""
    if rounds < 1:
        raise LabError("a benchmark takes at least one round")
    samples: dict[str, list[Sample]] = {each.name: [] for each in case.contestants}
    for number in range(rounds):
        for each in _turned(case.contestants, number):
            tell(f"{case.name}: round {number + 1} of {rounds}, {each.name}")
            samples[each.name].append(each.run())
    return Outcome(case, samples)


def _turned(items: Sequence[Contestant], by: int) -> list[Contestant]:
    shift = by % len(items)
    return [*items[shift:], *items[:shift]]
