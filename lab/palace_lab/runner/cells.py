"""The cells of a campaign: scenario, release and arm, each with the trials it still needs."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from palace_lab.catalog import Listed
from palace_lab.errors import UsageError
from palace_lab.judge.results import ArmResult, Row, TrialRecord
from palace_lab.judge.statistics import Decision, SequentialTest
from palace_lab.judge.verdict import Role, Tried, Verdict, judge
from palace_lab.plan.drawn import Drawn
from palace_lab.plan.model import Plan
from palace_lab.runner.arena import Arena
from palace_lab.runner.trial import derived_seed, has_open_points, put_points, record_points
from palace_lab.scenario import SQLITE, Arm, Scenario, Size

#: Environment variable that sets the seed of a run.
SEED_VARIABLE = "PALACE_LAB_SEED"
#: A race may take this many times the profile's trials before it is called undecided, or as many as
#: decide it, if its declared probability is true: six trials leave a tenth of races of 90 % open.
STRETCH = 6
#: The arms of a race that are stretched, unless a run asks for others.
STRETCHED: frozenset[Role] = frozenset({"off", "wrong"})
#: Of an arm, so many histories of trials that came to the same are kept, and so many in all.
KEPT_EACH, KEPT_MAX = 3, 9
#: A longer text is no number a person would type but a commit's hash.
_HASH_CHARACTERS_MIN = 20


@dataclass(frozen=True)
class Profile:
    """How many trials an arm gets.

    With `nightly` the nightly scenarios are part of it, but for those that are not `in_ci`,
    and their arms get that many trials.
    """

    name: str
    off: int
    fixed: int
    nightly: int = 0

    def trials(self, scenario: Scenario, arm: Arm) -> int:
        """Return the number for one arm of a scenario."""
        if scenario.nightly and self.nightly:
            return self.nightly
        return self.fixed if arm.role == "fixed" else self.off

    def has(self, scenario: Scenario) -> bool:
        """Tell whether a scenario is part of this profile without being asked for."""
        return not scenario.nightly or (self.nightly > 0 and scenario.in_ci)

    def with_trials(self, n: int) -> Profile:
        """Return a profile with the same number for every arm."""
        return Profile(f"{n} trials", off=n, fixed=n)


PROFILES = {
    "quick": Profile("quick", off=5, fixed=5),
    "ci": Profile("ci", off=5, fixed=5, nightly=1),
    "full": Profile("full", off=20, fixed=100),
    # For plans that are others in each trial: more of the same plan shows little.
    "campaign": Profile("campaign", off=20, fixed=2000),
}


@dataclass
class Cell:
    """One arm of one scenario on one release."""

    listed: Listed
    release: str  # as the table shows it
    chromadb: str  # of the environment it runs in
    arm: Arm
    wanted: int
    seed: int
    size: Size
    wanted_most: int = 0  # a race may be stretched to this; see `most_trials`
    records: dict[int, TrialRecord] = field(default_factory=dict)
    started: int = 0
    _resolved: dict[int, int] | None = None
    _kept: Counter[str | None] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def plan(self, arena: Arena, index: int) -> Plan:
        """Return the plan of one trial, its crash points put in as an undisturbed run had them."""
        scenario = self.listed.scenario
        seed = self.trial_seed(index)
        plan = scenario.plan_for(self.arm, self.chromadb, seed, self.size, self.listed.name)
        if not has_open_points(plan):
            return plan
        with self._lock:
            if self._resolved is None:
                self._resolved = record_points(arena, plan)
        return put_points(plan, self._resolved)

    def undisturbed_plan(self) -> Plan:
        """Return the plan as the scenario has it: its crash points are not put in yet."""
        scenario = self.listed.scenario
        return scenario.plan_for(self.arm, self.chromadb, 0, self.size, self.listed.name)

    def trial_seed(self, index: int) -> int:
        """Return the seed of one trial: the same for all arms, so that they differ in nothing."""
        named = self.listed.seeded_as or self.listed.name
        return derived_seed(self.seed, named, self.release, index)

    def keeps(self, index: int, signature: str | None) -> bool:
        """Tell whether the history of a trial that has just ended is to be kept.

        The first trial's is, and those of the first few to come to each signature, or to hold.
        """
        with self._lock:
            if self._kept is None:
                before = [record for record in self.records.values() if record.history]
                self._kept = Counter(record.signature for record in before)
            few = self._kept[signature] < KEPT_EACH and self._kept.total() < KEPT_MAX
            self._kept[signature] += few or index == 0
            return few or index == 0

    def tried(self) -> list[Tried]:
        """Return the trials so far, in the order of their numbers.

        Of plans drawn by lot some come to no fault. They stand for all of them together, as long as
        most of them do.
        """
        records = [record for _, record in sorted(self.records.items())]
        drawn = isinstance(self.listed.scenario.plan, Drawn)
        most = 2 * sum(record.reached for record in records) > len(records)
        return [
            replace(record.tried(), reached=record.reached or (drawn and most))
            for record in records
        ]

    def stretch(self) -> bool:
        """Ask for more trials if this is a race that is not decided; tell whether it was."""
        if self.listed.scenario.probability is None or self.wanted >= self.wanted_most:
            return False
        if self.decision(self._judge()) != "undecided":
            return False
        self.wanted += 1
        return True

    def decision(self, verdict: Verdict) -> Decision:
        """Return what the trials so far say of the declared probability of a failure.

        What shows every time has the probability 1.
        """
        probability = self.listed.scenario.probability
        return SequentialTest(1.0 if probability is None else probability).decide(
            verdict.k, verdict.n
        )

    def accepts(self) -> frozenset[str]:
        """Return what the off arm may fail with."""
        return self.listed.scenario.accepted_on(self.release)

    def result(self) -> ArmResult:
        """Judge the trials so far; fewer than wanted are UNKNOWN, unless they decide as well."""
        verdict = self._judge()
        cut = verdict.n < self.wanted
        if cut and (not verdict.n or (verdict.good and self.decision(verdict) == "undecided")):
            reason = f"{verdict.n} of {self.wanted} trials were made, which decides nothing"
            verdict = replace(verdict, name="UNKNOWN", reason=reason)
        records = tuple(record for _, record in sorted(self.records.items()))
        return ArmResult(self.arm.role, verdict, records)

    def _judge(self) -> Verdict:
        return judge(
            self.arm.role,
            self.tried(),
            accepts=self.accepts(),
            probability=self.listed.scenario.probability,
        )


def most_trials(
    n: int, arm: Arm, scenario: Scenario, stretched: Collection[Role] = STRETCHED
) -> int:
    """Return how many trials an arm may get that begins with `n`: more only if it is a race."""
    if scenario.probability is None or arm.role not in stretched:
        return n
    return max(STRETCH * n, SequentialTest(scenario.probability).enough())


def make_row(listed: Listed, release: str, cells: Sequence[Cell], refused: str = "") -> Row:
    """Return the row of a scenario on a release."""
    return Row(
        scenario=listed.name,
        system=listed.system,
        release=release,
        sentence=listed.sentence,
        is_guard=listed.scenario.is_guard,
        arms=tuple(cell.result() for cell in cells),
        refused=refused,
    )


def campaign_seed(given: int | None) -> int:
    """Return the seed of a run: the one given, else the variable's (CI's is the commit), else 1."""
    if given is not None:
        return given
    text = os.environ.get(SEED_VARIABLE, "1")
    try:
        return int(text, 0) if len(text) < _HASH_CHARACTERS_MIN else int(text, 16) % 2**63
    except ValueError:
        raise UsageError(
            f"${SEED_VARIABLE} is {text!r}; use a whole number or a commit's hash"
        ) from None


def shown_releases(scenario: Scenario, asked: Collection[str]) -> list[str]:
    """Return the releases of a scenario that get a row: its own, unless some were asked for."""
    if SQLITE in scenario.releases:
        return [SQLITE]
    return [each for each in asked if scenario.runs_on(each)] if asked else [*scenario.releases]


def chromadb_for(release: str, available: Sequence[str]) -> str:
    """Return the release whose environment a row runs in: its own, or the newest for SQLite's."""
    return available[-1] if release == SQLITE and available else release
