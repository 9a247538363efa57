"""Trials of one plan that was played alone, kept as a run keeps its own: for a page with a picture.

They are judged as a fixed arm is, since who plays a plan alone wants to know whether it holds.
"""

from __future__ import annotations

import time
from typing import Final

from palace_lab.judge.results import ArmResult, Row, RunResult, TrialRecord
from palace_lab.judge.verdict import judge
from palace_lab.plan import dump_plan
from palace_lab.plan.model import Plan
from palace_lab.report.records import ResultsFile
from palace_lab.report.rundir import RunDirectory
from palace_lab.runner.bench import recorded, write_course
from palace_lab.runner.trial import Trial

ROLE: Final = "played"


class Played:
    """Keeps the trials of a plan in the directory of a run; `name` is for a plan without one."""

    def __init__(self, directory: RunDirectory, plan: Plan, *, name: str, sentence: str) -> None:
        self._directory = directory
        self._plan = plan
        self._name = plan.name or name
        self._system = self._name.partition("/")[0]
        self._sentence = sentence
        self._records: list[TrialRecord] = []
        self._began_s = time.monotonic()

    def keep(self, trial: Trial) -> None:
        """Write down plan, history and record of a trial."""
        place = (self._name, self._plan.release, ROLE, len(self._records))
        text = dump_plan(trial.plan)
        self._directory.plan_path(*place).write_bytes(text)
        kept = bool(trial.events)
        if kept:
            write_course(trial, self._directory.history_path(*place))
        record = recorded(
            trial, place, system=self._system, directory=self._directory, text=text, kept=kept
        )
        self._records.append(record)
        with ResultsFile(self._directory.results_path) as results:
            results.append(record)

    def result(self, leaks: tuple[str, ...]) -> RunResult:
        """Return what came of all of them, as the result of a run with one row."""
        tried = [record.tried() for record in self._records]
        verdict = judge(ROLE, tried, accepts=frozenset(), probability=None)
        arm = ArmResult(ROLE, verdict, tuple(self._records))
        row = Row(
            scenario=self._name,
            system=self._system,
            release=self._plan.release,
            sentence=self._sentence,
            is_guard=False,
            arms=(arm,),
        )
        return RunResult(
            rows=(row,),
            profile="alone",
            seed=self._plan.seed,
            trials_off=0,
            trials_fixed=len(tried),
            seconds=time.monotonic() - self._began_s,
            leaks=leaks,
            until_decided=False,
        )
