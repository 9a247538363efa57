"""What the trials of a night amount to: which bugs it found without being told, and what is red.

Rules:
- An arm is judged as in any run. What decides nothing yet is not red: in a night a cell gets as
  many trials as its time allows, so a race may stay undecided and a cell untried.
- A bug is found if an arm that must fail has failed as its scenario lists.
- Every canary must fail. One that held, or no canary at all beside trials that must hold, is red:
  then nobody knows what this night would have noticed.
- Red is also a process that was left behind, and an environment that was asked for and refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from palace_lab.errors import ExitCode
from palace_lab.judge.results import WORST_FIRST, ArmResult, Row

#: With fewer trials than this nobody can say whether most of them come to their fault.
_RACE_N_MIN = 5


@dataclass(frozen=True)
class Judged:
    """A row of a night. `race`: what it shows depends on chance, in one way or another."""

    row: Row
    race: bool


@dataclass(frozen=True)
class Canary:
    """How many canaries there were, and how many failed as each must."""

    failed: int
    tried: int

    def silent(self, fixed_trials: int) -> bool:
        """Tell whether it says nothing about a night with so many trials that had to hold."""
        return self.failed < self.tried or (self.tried == 0 and fixed_trials > 0)


@dataclass(frozen=True)
class NightResult:
    """A whole night. `ended`: why; `cut_short`: the same if this machine could not go on."""

    judged: tuple[Judged, ...]
    canary: Canary
    trials: int
    seconds: float
    written_bytes: int
    left_out: int = 0  # rows that this machine or a night so short cannot play
    leaks: tuple[str, ...] = ()
    ended: str = ""
    cut_short: str = ""
    interrupted: bool = False

    @property
    def fixed_trials(self) -> int:
        """Return how many trials there were that had to hold."""
        return sum(
            arm.verdict.n for each in self.judged for arm in each.row.arms if arm.role == "fixed"
        )

    def bugs(self, *, found: bool) -> list[str]:
        """Return the arms that must fail and did as listed, or those that did not yet."""
        return [
            f"{each.row.scenario} on {each.row.release}"
            for each in self.judged
            for arm in each.row.arms
            if arm.role in ("off", "wrong") and (arm.verdict.k > 0) == found
        ]

    def red_rows(self) -> list[Row]:
        """Return what is not as promised, with only those arms that are not."""
        rows = []
        for each in self.judged:
            arms = tuple(arm for arm in each.row.arms if code_of(arm, each) != ExitCode.PROMISED)
            if arms or each.row.refused:
                rows.append(replace(each.row, arms=arms))
        return rows

    @property
    def exit_code(self) -> ExitCode:
        """Return the one exit code of the night: the worst thing that happened decides."""
        if self.interrupted:
            return ExitCode.INTERRUPTED
        codes = {code_of(arm, each) for each in self.judged for arm in each.row.arms}
        if self.leaks:
            codes.add(ExitCode.LEAK)
        if self.canary.silent(self.fixed_trials) or not (self.trials or self.cut_short):
            codes.add(ExitCode.VACUOUS)
        if self.cut_short or any(each.row.refused for each in self.judged):
            codes.add(ExitCode.REFUSED)
        return next((code for code in WORST_FIRST if code in codes), ExitCode.PROMISED)


def code_of(arm: ArmResult, judged: Judged) -> ExitCode:
    """Return the exit code an arm gives a night: that of its verdict, unless that is too early."""
    verdict = arm.verdict
    early = not any(trial.lab_error for trial in arm.trials) and (
        verdict.n == 0
        or (judged.race and verdict.name == "VACUOUS" and verdict.n < _RACE_N_MIN)
        or (verdict.name == "UNKNOWN" and (judged.race or verdict.k == _failed(arm)))
    )
    return ExitCode.PROMISED if early else verdict.exit_code


def _failed(arm: ArmResult) -> int:
    return sum(1 for trial in arm.trials if trial.signature is not None)
