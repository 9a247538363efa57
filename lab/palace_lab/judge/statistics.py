"""The few formulas the lab needs, kept small enough for a Raspberry Pi; tested against scipy.

- `upper_bound`, `interval`: exact (Clopper-Pearson), for a number of trials fixed beforehand.
- `running_interval`: valid at every number of trials at once, so it may be read whenever one
  stops (the mixture martingale of a uniform prior, inverted; Ville's inequality).
- `SequentialTest`: Wald's test between "it happens with probability P" and "with a quarter of it".
  Its limits are 1/error and error, so that each error is bounded whenever one stops (Ville again).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Decision = Literal["reproduced", "not reproduced", "undecided"]
_STEPS = 60  # of bisection: more than a double can resolve


def binomial_tail(k: int, n: int, p: float) -> float:
    """Return the probability of `k` or more successes in `n` trials of probability `p`."""
    if k <= 0:
        return 1.0
    if p <= 0.0:
        return 0.0
    if p >= 1.0:
        return 1.0
    logs = (
        math.lgamma(n + 1)
        - math.lgamma(i + 1)
        - math.lgamma(n - i + 1)
        + i * math.log(p)
        + (n - i) * math.log1p(-p)
        for i in range(k, n + 1)
    )
    return min(1.0, math.fsum(math.exp(value) for value in logs))


def interval(k: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact two-sided interval for a probability, given `k` of `n`."""
    _validate(k, n)
    error = (1 - confidence) / 2
    low = 0.0 if k == 0 else _solve(lambda p: binomial_tail(k, n, p) >= error)
    high = 1.0 if k == n else _solve(lambda p: 1 - binomial_tail(k + 1, n, p) < error)
    return low, high


def upper_bound(k: int, n: int, *, confidence: float = 0.95) -> float:
    """Return the exact one-sided upper bound; for k = 0 it is 1 - (1 - confidence)^(1/n)."""
    _validate(k, n)
    return 1.0 if k == n else _solve(lambda p: 1 - binomial_tail(k + 1, n, p) < 1 - confidence)


def running_interval(k: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return an interval that holds at all n at once, whatever made one stop at this one."""
    _validate(k, n)
    if n == 0:
        return 0.0, 1.0
    mixture = math.lgamma(k + 1) + math.lgamma(n - k + 1) - math.lgamma(n + 2)
    limit = -math.log(1 - confidence)

    def inside(p: float) -> bool:
        likelihood = (k * math.log(p) if k else 0.0) + ((n - k) * math.log1p(-p) if k < n else 0.0)
        return mixture - likelihood < limit

    # Both searches start at the likeliest value: 0 is tried only if k is 0, and 1 only if it is n.
    best = k / n
    return _solve(inside, high=best), _solve(lambda p: not inside(p), low=best)


@dataclass(frozen=True)
class SequentialTest:
    """Decides between probability `p` and `p / 4`, each wrongly in at most 1 % of all runs."""

    p: float
    error: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.p <= 1:
            raise ValueError(f"a declared probability is above 0 and at most 1, not {self.p}")
        if not 0 < self.error < 1:
            raise ValueError(f"a probability of error is between 0 and 1, not {self.error}")

    def decide(self, k: int, n: int) -> Decision:
        """Return what `k` of `n` so far allows to say."""
        _validate(k, n)
        likely, unlikely = min(self.p, 0.999), self.p / 4
        ratio = k * math.log(likely / unlikely)
        ratio += (n - k) * math.log((1 - likely) / (1 - unlikely))
        limit = -math.log(self.error)
        if ratio >= limit:
            return "reproduced"
        return "not reproduced" if ratio <= -limit else "undecided"

    def enough(self) -> int:
        """Return how many trials leave at most `error` of all runs undecided, if `p` is true."""
        undecided, n = {0: 1.0}, 0  # successes so far → probability
        while math.fsum(undecided.values()) > self.error:
            n += 1
            after: dict[int, float] = {}
            for k, mass in undecided.items():
                for more, share in ((1, self.p), (0, 1 - self.p)):
                    if share and self.decide(k + more, n) == "undecided":
                        after[k + more] = after.get(k + more, 0.0) + mass * share
            undecided = after
        return n


def _validate(k: int, n: int) -> None:
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is no count of successes")


def _solve(holds: Callable[[float], bool], *, low: float = 0.0, high: float = 1.0) -> float:
    """Return where `holds` turns from false to true between `low` and `high`."""
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high
