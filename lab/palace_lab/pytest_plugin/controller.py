"""The controller's part: it hears of every test, and writes and shows the reports of the run.

Rules:
- One process writes the run's results: the one that shows the run to its user. A worker of xdist
  sends its records with the test's report, so that no two processes write one file.
- Every verdict in the reports is judged here, from the records that were written.
- Where nothing but scenarios failed and what is wrong has an exit code of the lab that pytest does
  not use for something else (vacuous, refused, gone), pytest ends with that.
- A test that ended before it was done counts as one trial more, in which the lab had trouble.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import pytest
from packaging.version import Version

from palace_lab.errors import ExitCode
from palace_lab.judge.results import ArmResult, Row, RunResult
from palace_lab.judge.verdict import Tried, judge
from palace_lab.pytest_plugin.lab import Case, Provided, Settings, Told
from palace_lab.report import facts, github
from palace_lab.report.console import PLAIN_WIDTH
from palace_lab.report.html_page import write_page
from palace_lab.report.junit import write_junit
from palace_lab.report.records import ResultsFile
from palace_lab.report.rundir import RunDirectory
from palace_lab.report.summary import write_summary
from palace_lab.report.table import layout
from palace_lab.report.words import Tone, one_line
from palace_lab.runner.cells import make_row
from palace_lab.scenario import SQLITE

#: Attribute of a test's report: a `Told`, encoded.
TOLD = "palace_lab_told"

#: Exit codes of the lab that mean nothing else to pytest.
_OWN_CODES = frozenset({ExitCode.VACUOUS, ExitCode.REFUSED, ExitCode.GONE})

_MARKUP: dict[Tone, dict[str, bool]] = {
    "good": {"green": True},
    "told": {"yellow": True},
    "bad": {"red": True, "bold": True},
    "quiet": {},
}


class Controller:
    """A plugin for the run whose scenarios it knows."""

    NAME: ClassVar[str] = "palace_lab_controller"

    def __init__(
        self,
        settings: Settings,
        provided: Provided,
        directory: RunDirectory,
        cases: Mapping[str, Case],
    ) -> None:
        self.provided = provided
        self.directory = directory
        self._settings = settings
        self._cases = cases
        self._told: dict[str, Told] = {}
        self._failed = 0
        self._results = ResultsFile(directory.results_path)
        self._began = time.monotonic()
        self._result: RunResult | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write down what a test has told."""
        if report.nodeid not in self._cases:
            return
        self._failed += report.failed
        text = report.__dict__.get(TOLD)
        if text is not None:
            told = self._told[report.nodeid] = Told.decoded(text)
            for record in told.records:
                self._results.append(record)
        elif report.failed and report.nodeid not in self._told:
            said = one_line(report.longreprtext) or "the test ended without a word"
            self._told[report.nodeid] = Told(trouble=said)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the reports."""
        self._results.close()
        result = self._result = self._judged(interrupted=exitstatus == pytest.ExitCode.INTERRUPTED)
        write_page(result, self.directory.path)
        write_junit(result, self.directory.path)
        write_summary(result, self.directory.path)  # which names the files that are there
        only_ours = (
            exitstatus == pytest.ExitCode.TESTS_FAILED and session.testsfailed == self._failed
        )
        if only_ours and result.exit_code in _OWN_CODES:
            session.exitstatus = int(result.exit_code)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the table of verdicts."""
        result = self._result
        if result is None:
            return
        writer = terminalreporter.config.get_terminal_writer()
        terminalreporter.section("palace lab")
        terminalreporter.write_line(facts.rests_on(result))
        width = writer.fullwidth if writer.hasmarkup else PLAIN_WIDTH
        for line in layout(result.rows, width) if result.rows else ():
            for position, cell in enumerate(line.cells):
                writer.write("  " if position else "")
                writer.write(cell.text, **_MARKUP[cell.tone])
            writer.line()
        if result.unfinished:
            terminalreporter.write_line(f"not got to: {', '.join(result.unfinished)}")
        for text in (facts.slowest(result), facts.files(self.directory.path)):
            if text:
                terminalreporter.write_line(text)
        terminalreporter.write_line(facts.counts(result, self.directory.path), bold=True)
        if github.wanted(os.environ):
            listed = [case.listed for case in self._cases.values()]
            for command in github.commands(result, self.directory.path, listed):
                terminalreporter.write_line(command)

    def _judged(self, *, interrupted: bool) -> RunResult:
        n = self._settings.trials
        unfinished = [nodeid for nodeid in self._cases if nodeid not in self._told]
        return RunResult(
            rows=tuple(self._rows()),
            profile=f"pytest, {n} trials",
            seed=self._settings.seed,
            trials_off=n,
            trials_fixed=n,
            seconds=time.monotonic() - self._began,
            leaks=tuple(leak for told in self._told.values() for leak in told.leaks),
            interrupted=interrupted or bool(unfinished),
            unfinished=tuple(unfinished),
        )

    def _rows(self) -> list[Row]:
        """Return the rows in the order of the table, whatever the order of the tests."""
        grouped: dict[tuple[str, str], list[str]] = {}
        for nodeid, case in self._cases.items():
            if nodeid in self._told:
                grouped.setdefault((case.listed.name, case.release), []).append(nodeid)
        return [self._row(grouped[place]) for place in sorted(grouped, key=_place)]

    def _row(self, nodeids: list[str]) -> Row:
        case = self._cases[nodeids[0]]
        roles = [arm.role for arm in case.listed.scenario.arms()]
        nodeids = sorted(nodeids, key=lambda each: roles.index(self._cases[each].arm.role))
        told = [(self._cases[nodeid], self._told[nodeid]) for nodeid in nodeids]
        refused = next((each.refused for _, each in told if each.refused), "")
        arms = tuple(self._arm(each, its) for each, its in told if not its.refused)
        return replace(make_row(case.listed, case.release, [], refused), arms=arms)

    def _arm(self, case: Case, told: Told) -> ArmResult:
        cell = self._settings.cell(case, self.provided.releases)
        cell.records.update({record.index: record for record in told.records})
        if not told.trouble:
            return cell.result()
        verdict = judge(
            case.arm.role,
            [*cell.tried(), Tried(None, reached=False, lab_error=told.trouble)],
            accepts=cell.accepts(),
            probability=case.listed.scenario.probability,
        )
        return ArmResult(case.arm.role, verdict, told.records)


def _place(row: tuple[str, str]) -> tuple[str, Version]:
    name, release = row
    return name, Version("0" if release == SQLITE else release)
