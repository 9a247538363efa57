"""Scenario files and their tests: how they are collected, run, and what a failure says.

Rules:
- A test's id says everything: `scenarios/s1_x/y.py::y[1.5.9-off]` is scenario, release and arm.
- A test passes when its arm did what the scenario promises, and left nothing behind. A refused
  environment is an error, never a skip.
- Every failure ends with one line to paste that shows it again, alone.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from palace_lab.called import called
from palace_lab.catalog import load_scenario
from palace_lab.errors import LabError, RefusedError
from palace_lab.pytest_plugin.lab import Case, Lab, Settings, Told, records_of, take_over
from palace_lab.report import facts
from palace_lab.report.words import ARM_NAMES, arm_words, one_line, shown_path
from palace_lab.runner.cells import Cell, most_trials, shown_releases

#: A limit far above what a trial takes, for pytest-timeout, where nobody has given one.
TRIAL_S_MAX = 120.0

_SETTINGS = pytest.StashKey[Settings]()
_LAB = pytest.StashKey[Lab]()


class ScenarioItem(pytest.Item):
    """One arm of a scenario on one release."""

    def __init__(self, *, case: Case, **rest: Any) -> None:
        super().__init__(**rest)
        self.case = case
        self.told: Told | None = None
        self._cell: Cell | None = None
        scenario = case.listed.scenario
        names = [scenario.system, "slow", *(["nightly"] if scenario.nightly else [])]
        for name in names:
            self.add_marker(name)
        kind = "guard" if scenario.is_guard else "proof"
        self.extra_keyword_matches |= {case.listed.name, case.release, case.arm.role, kind}
        if self.config.getoption("timeout", 0) is None:
            trials = most_trials(settings_of(self.config).trials, case.arm, scenario)
            self.add_marker(pytest.mark.timeout(trials * TRIAL_S_MAX))

    def setup(self) -> None:
        """Refuse what cannot be run here; start what trials need."""
        self.told = None
        lab = lab_of(self.config)
        self._cell = lab.cell(self.case)
        reason = lab.why_refused(self._cell)
        try:
            if not reason:
                lab.open()
        except RefusedError as error:
            reason = str(error)
        if reason:
            self.told = Told(refused=reason)
            self._fail([f"REFUSED: {one_line(reason)}"], self._again())

    def runtest(self) -> None:
        """Do all trials and judge them."""
        lab = lab_of(self.config)
        cell = self._cell = lab.cell(self.case)
        told = self.told = lab.run(cell)
        arm = cell.result()
        if arm.verdict.good and not told.leaks:
            return
        words = arm_words(arm)
        lines = [words if arm.role == "wrong" else f"{ARM_NAMES[arm.role]}: {words}"]
        if arm.verdict.reason:
            lines.append(one_line(arm.verdict.reason))
        shares = ", ".join(f"{name} {count}" for name, count in arm.verdict.outcomes)
        lines.append(f"outcomes of {arm.verdict.n} trials: {shares}")
        said = facts.sentences(arm)
        lines += [f"- {sentence}" for sentence in said[: facts.SENTENCES_MAX]]
        if len(said) > facts.SENTENCES_MAX:
            lines.append(f"- and {len(said) - facts.SENTENCES_MAX} more in results.jsonl")
        lines += [f"left behind: {one_line(leak)}" for leak in told.leaks]
        self._fail(lines, facts.command(arm, lab.directory.path))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show trouble of the lab itself with the same line at its end; a foreseen one is short."""
        if isinstance(excinfo.value, pytest.fail.Exception) and self.told is not None:
            return super().repr_failure(excinfo, style)  # has its line already
        foreseen = isinstance(excinfo.value, LabError)
        shown = f"UNKNOWN: {excinfo.value}" if foreseen else super().repr_failure(excinfo, style)
        return f"{shown}\n{_pasted(self._again())}"

    def tell(self, trouble: pytest.ExceptionInfo[BaseException] | None) -> Told | None:
        """Return what there is to tell after a phase of the test that ended in `trouble`, if so."""
        if self.told is None and trouble is not None:
            done = () if self._cell is None else records_of(self._cell)
            return Told(done, trouble=trouble.exconly())
        return self.told

    def reportinfo(self) -> tuple[Path, int, str]:
        """Return where the scenario is, and the title of a failure."""
        return self.path, 0, self.name

    def _again(self) -> str:
        """Return the line that repeats the trial that was begun last, or else the test."""
        cell, lab = self._cell, self.config.stash.get(_LAB, None)
        if cell is not None and lab is not None:
            place = (cell.listed.name, cell.release, cell.arm.role, len(cell.records))
            if (plan := lab.directory.plan_path(*place)).exists():
                return f"{called()} replay {shown_path(plan)}"
        settings, here = settings_of(self.config), Path.cwd()
        path = self.path.relative_to(here) if self.path.is_relative_to(here) else self.path
        words = ["pytest", f"{path}::{self.name}", f"--palace-seed={settings.seed}"]
        words += [f"--palace-release={release}" for release in settings.asked]
        words += ["--palace-nightly"] if self.case.listed.scenario.nightly else []
        return shlex.join(words)

    def _fail(self, lines: list[str], command: str) -> None:
        pytest.fail("\n".join([*lines, _pasted(command)]), pytrace=False)


class ScenarioFile(pytest.File):
    """A scenario file."""

    root: Path

    def collect(self) -> Iterator[ScenarioItem]:
        """Return a test for each release and arm."""
        try:
            listed = load_scenario(self.path, self.root)
            settings = settings_of(self.config)
        except LabError as error:
            raise self.CollectError(str(error)) from None
        title = self.path.stem.replace("_", "-")
        for release in shown_releases(listed.scenario, settings.asked):
            for arm in listed.scenario.arms():
                name = f"{title}[{release}-{arm.role}]"
                case = Case(listed, release, arm)
                yield ScenarioItem.from_parent(self, name=name, case=case)


def settings_of(config: pytest.Config) -> Settings:
    """Return the checked options of a run; raises `LabError` for one that makes no sense."""
    if _SETTINGS not in config.stash:
        config.stash[_SETTINGS] = Settings.of(config)
    return config.stash[_SETTINGS]


def lab_of(config: pytest.Config) -> Lab:
    """Return the lab of this process; a worker of xdist takes over what its controller has."""
    if _LAB not in config.stash:
        settings = settings_of(config)
        run = config.workerinput["testrunuid"]  # type: ignore[attr-defined]  # xdist puts it there
        keep(config, Lab(settings, *take_over(settings, run)))
    return config.stash[_LAB]


def keep(config: pytest.Config, lab: Lab) -> None:
    """Make a lab that of this process, until pytest gives up its configuration."""
    config.stash[_LAB] = lab
    config.add_cleanup(lab.close)


def _pasted(command: str) -> str:
    return f"see it again, alone:\n    {command}"
