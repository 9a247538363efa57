"""One trial: a plan played once in a directory of its own, observed, and judged.

Rules: a trial never touches a palace that existed before it; it leaves no process behind; trouble
of the lab itself is kept apart (`lab_error`) and is never a result about the library.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from palace_lab.checks.evidence import SURVEY_AFTER, Evidence, Violation
from palace_lab.checks.run import run_checks
from palace_lab.checks.signatures import leading
from palace_lab.errors import ExitCode, LabError
from palace_lab.history.merge import calls, merge
from palace_lab.history.segment import Event
from palace_lab.plan import steps
from palace_lab.plan.model import Plan
from palace_lab.runner.arena import Arena
from palace_lab.runner.baseline import Baselines
from palace_lab.runner.course import ends, looked
from palace_lab.runner.deadline import Deadline
from palace_lab.runner.launch import limits_for
from palace_lab.runner.observe import look, place_midway
from palace_lab.runner.outcome import Checked, Outcome, backdated
from palace_lab.runner.servers import ENVIRONMENTS
from palace_lab.runner.stage import Stage

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Given:
    """A palace that a plan begins with, and what its writers were told; it is copied, not used."""

    palace: Path
    events: tuple[Event, ...]


@dataclass
class Trial:
    """Everything one execution of a plan gave."""

    plan: Plan
    outcome: Outcome = field(default_factory=Outcome)
    events: list[Event] = field(default_factory=list)
    looked: list[Event] = field(default_factory=list)  # what those did who looked, and their ends
    evidence: Evidence | None = None
    violations: list[Violation] = field(default_factory=list)
    seconds: float = 0.0
    written_bytes: int = 0
    lab_error: str = ""
    lab_code: ExitCode = ExitCode.PROMISED  # of that error: what the lab, or the plan, is at fault

    @property
    def signature(self) -> str | None:
        """Return the name of what went wrong, or None if everything held."""
        if self.lab_error:
            return "lab-error"
        return leading({violation.signature for violation in self.violations})

    @property
    def reached(self) -> bool:
        """Tell whether the faults of the plan were reached.

        The fixed arm must have met all of them (or any, if the plan says so): else it holds for
        nothing. An arm that breaks at the first may never come to the second. Times that were set
        back are the lab's doing alone, so beside another fault they are not the one that counts.
        """
        goals = self.outcome.goals
        if not goals or (self.plan.arm == "fixed" and self.plan.reach == "all"):
            return all(goals.values())
        alone = {backdated(step) for step in self.plan.steps if isinstance(step, steps.Backdate)}
        if met := [reached for goal, reached in goals.items() if goal not in alone]:
            return any(met)
        return (all if self.plan.reach == "all" else any)(goals.values())


def run_trial(
    arena: Arena,
    plan: Plan,
    *,
    baselines: Baselines | None = None,
    keep: Path | None = None,
    given: Given | None = None,
    leave: Path | None = None,
) -> Trial:
    """Play a plan once, with nothing in its palace or with what is `given`.

    `keep` is a new directory to copy the palace, history and logs to when all is over, `leave` one
    for the palace as the steps left it, before anybody looked at it.
    """
    trial = Trial(plan)
    baseline = None if baselines is None else baselines.of(plan)
    deadline = Deadline(baseline, None if baselines is None else lambda: baselines.again(plan))
    directory = arena.trial_directory()
    earlier = _begin_with(given, directory)
    began = time.monotonic()
    try:
        stage = Stage(
            arena,
            plan,
            directory,
            deadline=deadline,
            recording=False,
            limits=limits_for(baseline),
            baseline=baseline,
            earlier=earlier,
        )
        trial.outcome = stage.cast.outcome
        stage.play()
        trial.events = [*earlier, *merge(directory / "history")]
        if leave is not None:
            shutil.copytree(directory / "palace", leave, symlinks=True)
        trial.evidence = look(
            arena,
            plan,
            directory,
            tuple(calls(trial.events)),
            trial.outcome,
            deadline=deadline,
            baseline=baseline,
        )
        trial.violations = _violations(trial.outcome.checked, trial.evidence)
        trial.looked = looked(directory, {event.process for event in trial.events})
        for evidence in (*(each.evidence for each in trial.outcome.checked), trial.evidence):
            trial.looked += ends(evidence.observations)
        if keep is not None:
            shutil.copytree(
                directory, keep, symlinks=True, dirs_exist_ok=True, copy_function=_copy_data
            )
    except LabError as error:
        trial.lab_error, trial.lab_code = str(error), error.exit_code
    finally:
        trial.written_bytes = sum(512 * file.stat().st_blocks for file in _files(directory))
        shutil.rmtree(directory)
    trial.seconds = time.monotonic() - began
    return trial


def record_points(arena: Arena, plan: Plan) -> dict[int, int]:
    """Play a plan undisturbed; returns for each `Crash` step how many calls it could have hit."""
    directory = arena.trial_directory()
    try:
        return Stage(arena, plan, directory, deadline=Deadline(), recording=True).play().recorded
    finally:
        shutil.rmtree(directory)


def has_open_points(plan: Plan) -> bool:
    """Tell whether a crash point of the plan is a share of the way, for `put_points`."""
    return any(isinstance(step, steps.Crash) and step.k is None for step in plan.steps)


def with_points(arena: Arena, plan: Plan) -> Plan:
    """Return the plan with its crash points as an undisturbed run of it has them."""
    return put_points(plan, record_points(arena, plan)) if has_open_points(plan) else plan


def put_points(plan: Plan, recorded: dict[int, int]) -> Plan:
    """Return the plan with every `at` of a crash point turned into the k it stands for.

    Where the process makes no such call that is the first: a trial that never comes to it says so.
    """
    changed = list(plan.steps)
    for number, step in enumerate(plan.steps):
        if isinstance(step, steps.Crash) and step.k is None:
            at = step.at if step.at is not None else 1.0
            k = max(1, round(at * recorded.get(number, 0)))
            changed[number] = msgspec.structs.replace(step, k=k, at=None)
    return plan.changed(steps=tuple(changed))


def derived_seed(base: int, *parts: object) -> int:
    """Return a seed that depends on the base seed and on what it is for, and on nothing else."""
    text = "/".join(map(str, (base, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _violations(checked: Sequence[Checked], last: Evidence) -> list[Violation]:
    """Return what all checks say, each contradiction once: as it was when it was first seen."""
    found: dict[tuple[str, str, str], Violation] = {}
    for each in checked:
        for violation in run_checks(each.evidence):
            said = f"after step {each.step}, looked at by {each.release}: {violation.sentence}"
            key = (violation.check, violation.signature, violation.sentence)
            process = violation.process
            if process == SURVEY_AFTER:  # there was one then, and there is one at the end
                process = f"{place_midway(each.step)}/{process}"
            found.setdefault(key, replace(violation, sentence=said, process=process))
    for violation in run_checks(last):
        found.setdefault((violation.check, violation.signature, violation.sentence), violation)
    return list(found.values())


def _begin_with(given: Given | None, directory: Path) -> tuple[Event, ...]:
    if given is None:
        return ()
    shutil.copytree(given.palace, directory / "palace", symlinks=True)
    return given.events


def _copy_data(source: str, target: str) -> None:
    """Copy a file without its holes: a history has 32 MiB, nearly all of which nobody wrote."""
    with Path(source).open("rb", 0) as given, Path(target).open("wb", 0) as made:
        end, at = os.fstat(given.fileno()).st_size, 0
        made.truncate(end)
        while at < end:
            try:
                at = os.lseek(given.fileno(), at, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:  # nothing but a hole up to the end
                    raise
                break
            hole = os.lseek(given.fileno(), at, os.SEEK_HOLE)
            given.seek(at)
            made.seek(at)
            while at < hole:
                at += made.write(given.read(min(hole - at, _BLOCK_BYTES)))
    shutil.copystat(source, target)


def _files(directory: Path) -> list[Path]:
    """Return the files of a trial; a server's environment is links to files that were there."""
    parts = [part for part in directory.iterdir() if part.name != ENVIRONMENTS]
    return [
        path
        for part in parts
        for path in part.rglob("*")
        if path.is_file() and not path.is_symlink()
    ]
