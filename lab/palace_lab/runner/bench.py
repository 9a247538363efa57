"""The bench: does the trials of cells in one arena, and writes down what is kept of each.

Every trial of a campaign, and of a scenario that is run as a test, goes through here, so that its
plan and history lie in the run's directory and its record says the same whoever asked for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from palace_lab.errors import LabError
from palace_lab.history.merge import write_jsonl
from palace_lab.judge.results import TrialRecord, ViolationRecord
from palace_lab.plan import dump_plan, steps
from palace_lab.plan.model import Plan
from palace_lab.report.rundir import RunDirectory
from palace_lab.runner.arena import Arena
from palace_lab.runner.baseline import Baselines
from palace_lab.runner.cells import Cell
from palace_lab.runner.course import course
from palace_lab.runner.trial import Trial, run_trial
from palace_lab.scenario import SQLITE


class Bench:
    """Does trials in one arena for one run's directory. Trials may run in several threads."""

    def __init__(self, arena: Arena, directory: RunDirectory) -> None:
        self._arena = arena
        self._directory = directory
        self._baselines = Baselines(arena)

    def trial(self, cell: Cell, index: int) -> TrialRecord:
        """Do one trial and return its record, with everything about it written down."""
        place = (cell.listed.name, cell.release, cell.arm.role, index)
        plan_path = self._directory.plan_path(*place)
        try:
            plan = cell.plan(self._arena, index)
            text = dump_plan(plan)
            plan_path.write_bytes(text)
            trial = run_trial(self._arena, plan, baselines=self._baselines)
            kept = bool(trial.events) and cell.keeps(index, trial.signature)
            if kept:
                write_course(trial, self._directory.history_path(*place))
        except LabError as error:
            plan = cell.undisturbed_plan()
            text = dump_plan(plan)
            plan_path.write_bytes(text)
            trial, kept = Trial(plan, lab_error=str(error)), False
        return record_of(trial, cell, index, directory=self._directory, text=text, kept=kept)

    def finish(self, cell: Cell, tell: Callable[[TrialRecord], None] = lambda _: None) -> None:
        """Do the trials a cell still needs, one after the other; a race goes on until decided."""
        while True:
            for index in range(cell.wanted):
                if index not in cell.records:
                    cell.records[index] = self.trial(cell, index)
                    tell(cell.records[index])
            if not cell.stretch():
                return


def why_refused(
    plan: Plan, ready: Collection[str], refused: Mapping[str, str], no_tracing: str
) -> str:
    """Return why a plan cannot be run here, or "" if it can.

    `ready` are the releases with an environment, `refused` says why others have none, `no_tracing`
    why crash points cannot be used.
    """
    for release in sorted(plan.releases()):
        if release not in ready:
            reason = refused.get(release, f"no environment for chromadb {release}")
            # A scenario that does not depend on chromadb stays without one if there is none at all.
            return next(iter(refused.values()), reason) if release == SQLITE else reason
    traced = any(isinstance(step, steps.TRACED) for step in plan.steps)
    return no_tracing if traced else ""


def record_of(
    trial: Trial, cell: Cell, index: int, *, directory: RunDirectory, text: bytes, kept: bool
) -> TrialRecord:
    """Return what is kept of one trial of a cell; the rest as in `recorded`."""
    place = (cell.listed.name, cell.release, cell.arm.role, index)
    return recorded(
        trial, place, system=cell.listed.system, directory=directory, text=text, kept=kept
    )


def recorded(
    trial: Trial,
    place: tuple[str, str, str, int],
    *,
    system: str,
    directory: RunDirectory,
    text: bytes,
    kept: bool,
) -> TrialRecord:
    """Return what is kept of one trial; `place` is scenario, release, arm and number.

    `text` is that of its plan; `kept`: its course was written down.
    """
    scenario, release, arm, index = place
    return TrialRecord(
        scenario=scenario,
        system=system,
        release=release,
        arm=arm,
        index=index,
        seed=trial.plan.seed,
        plan=directory.relative(directory.plan_path(*place)),
        plan_sha256=hashlib.sha256(text).hexdigest(),
        history=directory.relative(directory.history_path(*place)) if kept else "",
        signature=trial.signature,
        reached=trial.reached,
        goals=trial.outcome.goals,
        violations=tuple(
            ViolationRecord(each.check, each.signature, each.sentence) for each in trial.violations
        ),
        exits={name: ended.describe() for name, ended in trial.outcome.exits.items()},
        seconds=round(trial.seconds, 4),
        written_bytes=trial.written_bytes,
        lab_error=trial.lab_error,
    )


def write_course(trial: Trial, path: Path) -> None:
    """Write down what happened in a trial, for people."""
    write_jsonl(course([*trial.events, *trial.looked], trial.violations), path)
