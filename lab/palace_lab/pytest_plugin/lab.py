"""What one pytest process needs to run scenarios: settings, environments, and one arena.

Rules: the arena is opened by the first scenario a process runs, from its main thread, and closed
when pytest gives up its configuration, however the session ended. Under xdist the controller alone
builds environments; the workers learn from a file in the run's directory what it has got.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from palace_lab.catalog import Listed
from palace_lab.commands.prepare import default_reports, provide, resolve_all, why_no_tracing
from palace_lab.environments import Environment
from palace_lab.errors import LabError, UsageError
from palace_lab.judge.results import TrialRecord
from palace_lab.pytest_plugin import TRIALS
from palace_lab.report.rundir import RunDirectory
from palace_lab.runner.arena import Arena
from palace_lab.runner.bench import Bench, why_refused
from palace_lab.runner.cells import Cell, campaign_seed, chromadb_for, most_trials
from palace_lab.scenario import RELEASES, SQLITE, Arm, Size


@dataclass(frozen=True)
class Case:
    """What one test is about."""

    listed: Listed
    release: str
    arm: Arm


@dataclass(frozen=True)
class Told:
    """What a test tells the controller: its trials, why there are none or no more, what it left."""

    records: tuple[TrialRecord, ...] = ()
    refused: str = ""
    trouble: str = ""  # of the lab itself, which ended the test
    leaks: tuple[str, ...] = ()

    def encoded(self) -> str:
        """Return it as plain ASCII, which takes every way between processes, half letters too."""
        return json.dumps(msgspec.to_builtins(self))

    @classmethod
    def decoded(cls, text: str) -> Told:
        """Read what `encoded` wrote."""
        return msgspec.convert(json.loads(text), cls)


@dataclass(frozen=True)
class Settings:
    """The options of the lab, checked."""

    releases: tuple[str, ...]  # oldest first
    asked: tuple[str, ...]  # the same if the user named them, else none
    trials: int
    seed: int
    size: Size
    reports: Path

    @classmethod
    def of(cls, config: pytest.Config) -> Settings:
        """Read the options; raises `UsageError` for one that makes no sense."""
        counts = {
            name: config.getoption(f"palace_{name}")
            for name in ("trials", "processes", "triples", "drawers")
        }
        for name, count in counts.items():
            if count is not None and count < 1:
                raise UsageError(f"--palace-{name} is {count}; use a whole number from 1 on")
        directory = config.getoption("palace_report_dir")
        asked = resolve_all(config.getoption("palace_release") or ())
        return cls(
            releases=tuple(asked or RELEASES),
            asked=tuple(asked),
            trials=counts.pop("trials") or TRIALS,
            seed=campaign_seed(config.getoption("palace_seed")),
            size=Size(**{name: count or 0 for name, count in counts.items()}),
            reports=default_reports() if directory is None else Path(directory).absolute(),
        )

    def cell(self, case: Case, available: Sequence[str]) -> Cell:
        """Return the cell of a case, given the releases that have an environment."""
        return Cell(
            case.listed,
            case.release,
            chromadb_for(case.release, available),
            case.arm,
            self.trials,
            self.seed,
            self.size,
            most_trials(self.trials, case.arm, case.listed.scenario),
        )


@dataclass(frozen=True)
class Provided:
    """Environments by age, and by release why others could not be had."""

    environments: tuple[Environment, ...]
    refused: Mapping[str, str]

    @property
    def releases(self) -> tuple[str, ...]:
        """Return the releases that have an environment, oldest first."""
        return tuple(each.release for each in self.environments)


def provide_for(
    cases: Collection[Case], settings: Settings, tell: Callable[[str], None]
) -> Provided:
    """Build what the cases need and is missing, and nothing else."""
    needed: set[str] = set()
    for case in cases:
        cell = settings.cell(case, settings.releases)
        own = {cell.chromadb} if case.release == SQLITE else set()
        needed |= cell.undisturbed_plan().releases() - own
    ready, refused = provide(resolve_all(needed), tell)
    if any(case.release == SQLITE for case in cases):
        # These do not depend on chromadb: the newest release that can be had will do.
        for release in reversed(settings.releases):
            if release not in needed:
                more, why = provide([release], tell)
                ready, refused = [*ready, *more], {**refused, **why}
            if release not in refused:
                break
    order = resolve_all(each.release for each in ready)
    return Provided(tuple(sorted(ready, key=lambda each: order.index(each.release))), refused)


class Lab:
    """Runs cells in this process. Use `close` when done with it."""

    def __init__(self, settings: Settings, provided: Provided, directory: RunDirectory) -> None:
        self.directory = directory
        self._settings = settings
        self._provided = provided
        self._no_tracing = why_no_tracing()
        self._arena: Arena | None = None
        self._bench: Bench | None = None
        self._broken: LabError | None = None
        self._leaks: set[str] = set()

    def cell(self, case: Case) -> Cell:
        """Return the cell of a case, no trial done yet."""
        return self._settings.cell(case, self._provided.releases)

    def why_refused(self, cell: Cell) -> str:
        """Return why this cell cannot be run here, or "" if it can."""
        plan, provided = cell.undisturbed_plan(), self._provided
        return why_refused(plan, provided.releases, provided.refused, self._no_tracing)

    def open(self) -> Bench:
        """Start what trials need, unless that was done. What failed once is not tried again."""
        if self._broken is not None:
            raise self._broken
        if self._bench is None:
            arena = Arena(self._provided.environments, scratch_root=None)
            try:
                self._arena = arena.__enter__()
            except LabError as error:
                self._broken = error
                raise
            self._bench = Bench(arena, self.directory)
        return self._bench

    def run(self, cell: Cell) -> Told:
        """Do all trials of a cell."""
        self.open().finish(cell)
        return Told(records_of(cell), leaks=tuple(self._new_leaks()))

    def close(self) -> None:
        """End every process and remove everything that trials worked in."""
        arena, self._arena, self._bench = self._arena, None, None
        if arena is not None:
            arena.__exit__(None, None, None)

    def _new_leaks(self) -> list[str]:
        found = [] if self._arena is None else self._arena.leaks()
        new = [leak for leak in found if leak not in self._leaks]
        self._leaks.update(new)
        return new


def records_of(cell: Cell) -> tuple[TrialRecord, ...]:
    """Return the trials of a cell in the order of their numbers."""
    return tuple(record for _, record in sorted(cell.records.items()))


def hand_over(provided: Provided, directory: RunDirectory, run: str) -> Path:
    """Write down for the workers of a test run what is provided; returns the file."""
    path = directory.path / _handover_name(run)
    fresh = path.with_suffix(".new")
    text = json.dumps({"ready": provided.releases, "refused": dict(provided.refused)})
    fresh.write_text(text, encoding="utf-8")
    return fresh.replace(path)


def take_over(settings: Settings, run: str) -> tuple[Provided, RunDirectory]:
    """Return what the controller of a test run has provided; raises `UsageError` if nothing."""
    for path in settings.reports.glob(f"*/{_handover_name(run)}"):
        said = json.loads(path.read_text(encoding="utf-8"))
        ready, refused = provide(said["ready"], lambda _: None)
        directory = RunDirectory(path.parent.resolve())
        return Provided(tuple(ready), {**said["refused"], **refused}), directory
    raise UsageError(
        f"this worker finds nothing the controller has prepared in {settings.reports}; "
        "give --palace-report-dir a folder that both can reach"
    )


def _handover_name(run: str) -> str:
    return f".handover-{hashlib.sha256(run.encode()).hexdigest()[:16]}.json"
