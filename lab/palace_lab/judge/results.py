"""What a run keeps of each trial, and the rows of its table.

`TrialRecord` is one line of `results.jsonl` (docs/results.md); `Row` is one line of the table: a
scenario on a release with all its arms. Both are plain data, so a report can be made again from a
run's directory, and an interrupted run can go on from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from palace_lab.errors import ExitCode
from palace_lab.judge.verdict import Role, Tried, Verdict

SCHEMA = 1


class ViolationRecord(msgspec.Struct, frozen=True):
    """One contradiction a check found."""

    check: str
    signature: str
    sentence: str


class TrialRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One trial. `signature` null: everything held; `goals`: was each fault reached."""

    schema: int = SCHEMA
    scenario: str
    system: str
    release: str
    arm: str
    index: int
    seed: int
    plan: str  # path of the plan, relative to the run's directory
    plan_sha256: str
    history: str  # path of the history, relative to the run's directory; "" if there is none
    signature: str | None
    reached: bool
    goals: dict[str, bool]
    violations: tuple[ViolationRecord, ...]
    exits: dict[str, str]
    seconds: float
    written_bytes: int
    lab_error: str = ""

    def tried(self) -> Tried:
        """Return what it contributes to a verdict."""
        missed = tuple(fault for fault, reached in self.goals.items() if not reached)
        return Tried(self.signature, self.reached, self.lab_error, missed)


@dataclass(frozen=True)
class ArmResult:
    """One arm of one row."""

    role: Role
    verdict: Verdict
    trials: tuple[TrialRecord, ...]

    @property
    def seconds(self) -> float:
        """Return the time all its trials took together."""
        return sum(trial.seconds for trial in self.trials)


@dataclass(frozen=True)
class Row:
    """One scenario on one release. `refused` says why it did not run at all."""

    scenario: str
    system: str
    release: str
    sentence: str  # the scenario's docstring
    is_guard: bool
    arms: tuple[ArmResult, ...] = ()
    refused: str = ""

    def arm(self, role: Role) -> ArmResult | None:
        """Return one arm, or None if the scenario has none of that role."""
        return next((arm for arm in self.arms if arm.role == role), None)

    @property
    def seconds(self) -> float:
        """Return the time all trials of the row took together."""
        return sum(arm.seconds for arm in self.arms)

    @property
    def good(self) -> bool:
        """Tell whether every arm did what the scenario promises."""
        return not self.refused and all(arm.verdict.good for arm in self.arms)


@dataclass(frozen=True)
class RunResult:
    """A whole run, finished or interrupted."""

    rows: tuple[Row, ...]
    profile: str
    seed: int
    trials_off: int
    trials_fixed: int
    seconds: float
    leaks: tuple[str, ...] = ()
    interrupted: bool = False
    unfinished: tuple[str, ...] = field(default=())  # what it did not get to, and why it ended
    until_decided: bool = True  # races went on until the test decided; else n was given

    @property
    def written_bytes(self) -> int:
        """Return the bytes all trials left in their directories before those were removed."""
        return sum(trial.written_bytes for trial in self.trials())

    def trials(self) -> Sequence[TrialRecord]:
        """Return every trial."""
        return [trial for row in self.rows for arm in row.arms for trial in arm.trials]

    @property
    def exit_code(self) -> ExitCode:
        """Return the one exit code of the run: the worst thing that happened decides."""
        if self.interrupted:
            return ExitCode.INTERRUPTED
        codes = {arm.verdict.exit_code for row in self.rows for arm in row.arms}
        if self.unfinished:
            codes.add(ExitCode.UNKNOWN)
        if self.leaks:
            codes.add(ExitCode.LEAK)
        if any(row.refused for row in self.rows):
            codes.add(ExitCode.REFUSED)
        if not any(row.arms for row in self.rows):
            codes.add(ExitCode.REFUSED if self.rows else ExitCode.VACUOUS)
        for code in WORST_FIRST:
            if code in codes:
                return code
        return ExitCode.PROMISED


#: Of several things that happened, the first of these decides. GONE comes last: who takes it for
#: good news, as for a release that is not out yet, can then rely on nothing else being wrong.
WORST_FIRST = (
    ExitCode.VIOLATED,
    ExitCode.HANG,
    ExitCode.LEAK,
    ExitCode.UNKNOWN,
    ExitCode.VACUOUS,
    ExitCode.REFUSED,
    ExitCode.GONE,
)
