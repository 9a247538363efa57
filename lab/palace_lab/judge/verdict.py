"""What the trials of one arm amount to.

Rules:
- `off` must fail with a signature the scenario lists for that release. Anything else it fails with
  is UNKNOWN, not REPRODUCED; other outcomes are counted beside k/n.
- A deterministic arm does the same every time: one that fails in some trials and holds in others is
  FLAKY, and one trial whose fault was not reached makes it VACUOUS.
- A race is decided by k of n; a trial whose fault was not reached is one in which it did not show.
- An arm that held is GONE only if every fault was reached, and in at least five trials.
- `fixed` must hold every time. One violation is VIOLATED, whatever the other trials did, and
  whether or not its fault was reached. If it held, every fault must have been reached.
- `as-reported` tells what is true. It is VACUOUS if no trial reached its fault or failed.
- Trouble of the lab itself is UNKNOWN, never a result about the library.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from palace_lab.checks.signatures import members
from palace_lab.errors import ExitCode
from palace_lab.judge.statistics import SequentialTest, interval, running_interval, upper_bound

Name = Literal[
    "REPRODUCED",
    "HELD",
    "OBSERVED",
    "VIOLATED",
    "NOT REPRODUCED",
    "GONE",
    "VACUOUS",
    "UNKNOWN",
    "FLAKY",
    "REFUSED",
]
Role = Literal["off", "wrong", "as-reported", "fixed", "played"]

_HANGS = frozenset({"hang", "reader-stuck", "writer-stuck"})
#: With fewer trials than this an arm that held is no evidence that upstream has mended it.
_GONE_N_MIN = 5


@dataclass(frozen=True)
class Tried:
    """What one trial contributes: its signature (None: everything held), and its fault reached.

    `missed` are the faults that were not.
    """

    signature: str | None
    reached: bool
    lab_error: str = ""
    missed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """The verdict on one arm of one scenario on one release."""

    name: Name
    k: int
    n: int
    outcomes: tuple[tuple[str, int], ...]  # signature or "held", with how often
    low: float
    high: float
    reason: str = ""

    @property
    def good(self) -> bool:
        """Tell whether this is what the scenario promises."""
        return self.name in ("REPRODUCED", "HELD", "OBSERVED")

    @property
    def exit_code(self) -> ExitCode:
        """Return the exit code this verdict alone would give."""
        if self.name == "VIOLATED":
            hung = any(name in _HANGS for name, _ in self.outcomes)
            return ExitCode.HANG if hung else ExitCode.VIOLATED
        return {
            "GONE": ExitCode.GONE,
            "VACUOUS": ExitCode.VACUOUS,
            "NOT REPRODUCED": ExitCode.VACUOUS,
            "UNKNOWN": ExitCode.UNKNOWN,
            "FLAKY": ExitCode.UNKNOWN,
            "REFUSED": ExitCode.REFUSED,
        }.get(self.name, ExitCode.PROMISED)


def judge(
    role: Role, tried: Sequence[Tried], *, accepts: frozenset[str], probability: float | None
) -> Verdict:
    """Judge one arm. `probability` None means deterministic; `accepts` may name families."""
    if role in ("fixed", "played"):
        return _judge_fixed(tried)
    if role == "as-reported":
        return _judge_reported(tried)
    return _judge_off(role, tried, accepts, probability)


def restated(verdict: Verdict, *, n_fixed: bool) -> Verdict:
    """Return a verdict with the 95 % interval that holds for how its number of trials came about.

    `n_fixed`: it was fixed beforehand; else anything may have ended the trials.
    """
    low, high = (interval if n_fixed else running_interval)(verdict.k, verdict.n)
    return replace(verdict, low=low, high=high)


def _outcomes(role: Role, tried: Sequence[Tried]) -> tuple[tuple[str, int], ...]:
    counted = Counter(_word(role, trial) for trial in tried)
    return tuple(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def _word(role: Role, trial: Tried) -> str:
    if trial.lab_error:
        return "lab-error"
    # What an off arm shows without its fault is not what was asked; a fixed arm must never fail.
    if not trial.reached and (trial.signature is None or role in ("off", "wrong")):
        return "not-reached"
    return trial.signature or "held"


def _trouble(tried: Sequence[Tried]) -> str:
    return next((trial.lab_error for trial in tried if trial.lab_error), "")


def _failed(tried: Sequence[Tried]) -> int:
    return sum(1 for trial in tried if trial.signature is not None and not trial.lab_error)


def _not_reached(tried: Sequence[Tried]) -> str:
    unreached = [trial for trial in tried if not trial.reached]
    missed = dict.fromkeys(fault for trial in unreached for fault in trial.missed)
    which = f": {', '.join(missed)}" if missed else ""
    return f"the fault was not reached in {len(unreached)} of {len(tried)} trials{which}"


def _judge_fixed(tried: Sequence[Tried]) -> Verdict:
    n, bad = len(tried), _failed(tried)
    outcomes = _outcomes("fixed", tried)
    low, high = interval(bad, n) if bad else (0.0, upper_bound(0, n) if n else 1.0)

    def verdict(name: Name, reason: str = "") -> Verdict:
        return Verdict(name, bad, n, outcomes, low, high, reason)

    if bad:
        return verdict("VIOLATED")
    if trouble := _trouble(tried):
        return verdict("UNKNOWN", trouble)
    if n == 0 or not all(trial.reached for trial in tried):
        return verdict("VACUOUS", _not_reached(tried))
    return verdict("HELD")


def _judge_reported(tried: Sequence[Tried]) -> Verdict:
    n, bad = len(tried), _failed(tried)
    outcomes = _outcomes("as-reported", tried)
    low, high = interval(bad, n)
    if trouble := _trouble(tried):
        return Verdict("UNKNOWN", bad, n, outcomes, low, high, trouble)
    if not bad and not any(trial.reached for trial in tried):
        return Verdict("VACUOUS", bad, n, outcomes, low, high, _not_reached(tried))
    return Verdict("OBSERVED", bad, n, outcomes, low, high)


def _judge_off(
    role: Role, tried: Sequence[Tried], accepts: frozenset[str], probability: float | None
) -> Verdict:
    listed = frozenset().union(*(members(name) for name in accepts))
    n = len(tried)
    k = sum(1 for trial in tried if _word(role, trial) in listed)
    low, high = interval(k, n) if probability is None else running_interval(k, n)
    name, reason = _shown(role, tried, k, probability)
    failed = {trial.signature for trial in tried if _word(role, trial) == trial.signature}
    if name != "REPRODUCED" and failed - listed and not _trouble(tried):
        reason += f"; listed: {', '.join(sorted(accepts)) or 'nothing'}"
    return Verdict(name, k, n, _outcomes(role, tried), low, high, reason)


def _shown(
    role: Role, tried: Sequence[Tried], k: int, probability: float | None
) -> tuple[Name, str]:
    n = len(tried)
    unreached = sum(1 for trial in tried if not trial.reached)
    if trouble := _trouble(tried):
        return "UNKNOWN", trouble
    if unreached == n or (unreached and probability is None):
        return "VACUOUS", _not_reached(tried)
    if probability is None:
        return ("REPRODUCED", "") if k == n else _not_shown(role, tried, k, probability)
    decision = SequentialTest(probability).decide(k, n)
    if decision == "undecided":
        return "UNKNOWN", f"{k} of {n} does not decide about a declared {probability:.0%}"
    return (
        ("REPRODUCED", "") if decision == "reproduced" else _not_shown(role, tried, k, probability)
    )


def _not_shown(
    role: Role, tried: Sequence[Tried], k: int, probability: float | None
) -> tuple[Name, str]:
    """Say what it means that the listed failure did not show as often as it should."""
    n, failed = len(tried), _failed(tried)
    if failed == n:
        return "UNKNOWN", f"{n - k} of {n} trials failed in a way the scenario does not list"
    if failed == 0 and all(trial.reached for trial in tried):
        if role == "wrong":
            return "VACUOUS", "the deliberately wrong variant held: this guard cannot fail"
        if n < _GONE_N_MIN:
            return "UNKNOWN", (
                f"it held {n} of {n} times, which says too little: "
                f"{_GONE_N_MIN} trials can say that it is gone"
            )
        return "GONE", "the unfixed library held"
    if probability is None:
        return "FLAKY", f"a deterministic plan gave the listed failure in {k} of {n} trials only"
    return "NOT REPRODUCED", f"declared {probability:.0%}, seen {k} of {n}"
