"""Lets Hypothesis write plans (`plan_machine`), plays them, and makes one that fails smaller.

Rules:
- A plan is played once: what is asked again is answered from memory, so no example is flaky.
- Hypothesis finds, `palace_lab.repro.shrink` makes smaller: that costs a tenth of the plays, and
  what is left fails with the same signature.
- A plan that failed is a file, and the failure says how to play it again.
"""

from __future__ import annotations

import hashlib
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from plan_machine import PlanMachine

from palace_lab.plan import Plan, dump_plan
from palace_lab.plan.steps import Kill
from palace_lab.repro.shrink import shrink
from palace_lab.runner.trial import Trial

READS = frozenset({"listed", "found", "count", "held"})
STEPS_MAX = 14
SHRINK_MAX = 24


class ViolatedError(AssertionError):
    """Plans that Hypothesis wrote did not hold; the smallest one found is in a file.

    `steps_found` is how many steps the plan had that Hypothesis found.
    """

    def __init__(self, trial: Trial, path: Path, steps_found: int) -> None:
        said = [f"{each.signature}: {each.sentence}" for each in trial.violations]
        again = f"play it again: palace-lab replay {shlex.quote(str(path))}"
        super().__init__("\n".join([str(trial.signature), *said, again]))
        self.trial = trial
        self.path = path
        self.steps_found = steps_found


@dataclass
class Player:
    """Plays plans and counts what they came to. Failures are written into the directory."""

    run: Callable[[Plan], Trial]
    directory: Path

    def __post_init__(self) -> None:
        self.counted: Counter[str] = Counter()
        self._played: dict[bytes, Trial] = {}

    def explore(
        self, releases: Sequence[str], fixes: Sequence[str], *, examples: int, seeded: int
    ) -> None:
        """Try that many examples; raises `ViolatedError` with the smallest plan found."""
        base: type[PlanMachine] = type(
            "Machine",
            (PlanMachine,),
            {
                "player": staticmethod(self._must_hold),
                "releases": tuple(releases),
                "fixes": tuple(fixes),
            },
        )
        try:
            run_state_machine_as_test(  # type: ignore[no-untyped-call]
                seed(seeded)(base),
                settings=settings(
                    max_examples=examples,
                    stateful_step_count=STEPS_MAX,
                    phases=[Phase.generate],
                    report_multiple_bugs=False,
                    database=None,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        except ViolatedError as error:
            found = error
        else:
            return
        raise self._smaller(found)

    def _must_hold(self, plan: Plan) -> None:
        trial = self._play(plan)
        assert not trial.lab_error, trial.lab_error
        if trial.violations:
            raise ViolatedError(trial, self._write(plan), len(plan.steps))

    def _smaller(self, found: ViolatedError) -> ViolatedError:
        def fails(plan: Plan) -> bool:
            return self._play(plan).signature == found.trial.signature

        smallest = shrink(found.trial.plan, fails, plays_max=SHRINK_MAX)
        return ViolatedError(self._play(smallest), self._write(smallest), found.steps_found)

    def _play(self, plan: Plan) -> Trial:
        key = dump_plan(plan)
        if key not in self._played:
            self._played[key] = self.run(plan)
            self._count(self._played[key])
        return self._played[key]

    def _count(self, trial: Trial) -> None:
        answers = trial.outcome.answers
        self.counted["plans"] += 1
        self.counted["failed"] += bool(trial.violations)
        self.counted["killed at a point"] += sum(trial.outcome.goals.values())
        self.counted["killed between"] += sum(isinstance(step, Kill) for step in trial.plan.steps)
        self.counted["hops"] += len({process.release for process in trial.plan.processes}) - 1
        self.counted["refused"] += sum(answer["done"] == "fail" for _, _, answer in answers)
        self.counted["reads"] += sum(op in READS for _, op, _ in answers)

    def _write(self, plan: Plan) -> Path:
        text = dump_plan(plan)
        path = self.directory / f"machine-{hashlib.sha256(text).hexdigest()[:12]}.json"
        path.write_bytes(text)
        return path
