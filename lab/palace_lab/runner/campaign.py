"""Many trials under one budget: every cell of the chosen scenarios, in parallel, resumable.

Rules:
- Rows are worked on in the order of the table, so that the first verdict comes early.
- A trial that an earlier, interrupted run of the same campaign has recorded is not done again.
- When the time budget is used up no trial begins any more; what is under way is finished.
- Ctrl-C ends every process at once; what is finished is kept and shown.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Protocol

from palace_lab.catalog import Listed
from palace_lab.judge.results import Row, RunResult, TrialRecord
from palace_lab.judge.verdict import Role
from palace_lab.report.records import ResultsFile
from palace_lab.report.rundir import RunDirectory
from palace_lab.runner.arena import Arena
from palace_lab.runner.bench import Bench, why_refused
from palace_lab.runner.cells import (
    STRETCHED,
    Cell,
    Profile,
    chromadb_for,
    make_row,
    most_trials,
    shown_releases,
)
from palace_lab.scenario import Size


class Progress(Protocol):
    """What a campaign tells whoever watches."""

    def start(self, total_trials: int, *, already: int = 0) -> None:
        """Say how many trials are planned, and how many an earlier run has done."""

    def trial_done(self, record: TrialRecord) -> None:
        """Say that one trial is done."""

    def row_done(self, row: Row) -> None:
        """Say that a row has its verdicts."""


@dataclass(frozen=True)
class Order:
    """What to run."""

    scenarios: Sequence[Listed]
    releases: Sequence[str]  # those with an environment, oldest first
    asked: Sequence[str]  # a row for each of these; none: for each that a scenario names
    refused: Mapping[str, str]  # release: why it has none
    profile: Profile
    seed: int
    size: Size = field(default_factory=Size)
    jobs: int = 2
    no_tracing: str = ""  # why crash points cannot be used here
    stretched: Collection[Role] = STRETCHED  # arms of a race that go on until it is decided
    budget_s: float = math.inf


@dataclass
class _RowWork:
    listed: Listed
    release: str
    cells: list[Cell]
    refused: str = ""
    shown: bool = False


def _spread(rows: list[_RowWork]) -> list[tuple[Cell, int]]:
    """Return the trials still to be done, those of races evenly among the others.

    The arms of a row take turns, so that a budget that runs out has given each its share.
    A race ruins an index in many ways, one of which is a reader that never answers: it waits until
    its deadline and uses no processor, so two of them side by side would leave the machine idle.
    """
    placed: list[tuple[float, Cell, int]] = []
    for is_race in (False, True):
        trials = [
            (cell, index)
            for row in rows
            if (row.listed.scenario.probability is not None) == is_race
            for index in range(max((cell.wanted for cell in row.cells), default=0))
            for cell in row.cells
            if index < cell.wanted and index not in cell.records
        ]
        placed += [((n + 0.5) / len(trials), *trial) for n, trial in enumerate(trials)]
    return [(cell, index) for _, cell, index in sorted(placed, key=lambda each: each[0])]


class Campaign:
    """Runs one order in one arena, writing to one run directory."""

    def __init__(
        self, arena: Arena, order: Order, directory: RunDirectory, progress: Progress
    ) -> None:
        self._arena = arena
        self._order = order
        self._progress = progress
        self._results = ResultsFile(directory.results_path)
        self._bench = Bench(arena, directory)
        self._rows = list(self._make_rows())
        self._began = time.monotonic()

    def run(self, previous: Iterable[TrialRecord] = ()) -> RunResult:
        """Do everything that `previous` has not done already."""
        self._take_over(previous)
        queue = deque(_spread(self._rows))
        already = sum(len(cell.records) for row in self._rows for cell in row.cells)
        self._progress.start(already + len(queue), already=already)
        interrupted = False
        pool = ThreadPoolExecutor(self._order.jobs, thread_name_prefix="trial")
        running: dict[Future[TrialRecord], Cell] = {}
        try:
            self._show_finished()
            while queue or running:
                if time.monotonic() - self._began >= self._order.budget_s:
                    queue.clear()
                while queue and len(running) < self._order.jobs:
                    cell, index = queue.popleft()
                    running[pool.submit(self._bench.trial, cell, index)] = cell
                done, _ = wait(running, return_when=FIRST_COMPLETED, timeout=1.0)
                for future in done:
                    cell = running.pop(future)
                    self._take(cell, future.result())
                    if len(cell.records) == cell.wanted and cell.stretch():
                        queue.appendleft((cell, cell.wanted - 1))
                self._show_finished()
        except KeyboardInterrupt:
            interrupted = True
            self._arena.interrupt()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            self._results.close()
        return self._result(interrupted=interrupted)

    def _make_rows(self) -> Iterator[_RowWork]:
        order = self._order
        for listed in order.scenarios:
            for release in shown_releases(listed.scenario, order.asked):
                chromadb = chromadb_for(release, order.releases)
                row = _RowWork(listed, release, [])
                for arm in listed.scenario.arms():
                    n = order.profile.trials(listed.scenario, arm)
                    most = most_trials(n, arm, listed.scenario, order.stretched)
                    cell = Cell(listed, release, chromadb, arm, n, order.seed, order.size, most)
                    row.refused = row.refused or why_refused(
                        cell.undisturbed_plan(), order.releases, order.refused, order.no_tracing
                    )
                    row.cells.append(cell)
                if row.refused:
                    row.cells.clear()
                yield row

    def _take_over(self, previous: Iterable[TrialRecord]) -> None:
        cells = {
            (cell.listed.name, cell.release, cell.arm.role): cell
            for row in self._rows
            for cell in row.cells
        }
        for record in previous:
            cell = cells.get((record.scenario, record.release, record.arm))  # type: ignore[arg-type]
            if cell is None or record.lab_error:
                continue
            if record.seed == cell.trial_seed(record.index):
                cell.records[record.index] = record
                cell.wanted = max(cell.wanted, record.index + 1)
        for cell in cells.values():
            if len(cell.records) == cell.wanted:
                cell.stretch()  # as it would have been after the last of them

    def _take(self, cell: Cell, record: TrialRecord) -> None:
        cell.records[record.index] = record
        self._results.append(record)
        self._progress.trial_done(record)

    def _show_finished(self) -> None:
        for row in self._rows:
            if not row.shown and all(len(cell.records) >= cell.wanted for cell in row.cells):
                row.shown = True
                self._progress.row_done(make_row(row.listed, row.release, row.cells, row.refused))

    def _result(self, *, interrupted: bool) -> RunResult:
        if not interrupted:  # a row that the budget has cut short tells what it has
            for row in self._rows:
                row.shown = row.shown or any(cell.records for cell in row.cells)
        finished = [row for row in self._rows if row.shown]
        unfinished = [f"{row.listed.name} on {row.release}" for row in self._rows if not row.shown]
        profile = self._order.profile
        return RunResult(
            rows=tuple(
                make_row(row.listed, row.release, row.cells, row.refused) for row in finished
            ),
            profile=profile.name,
            seed=self._order.seed,
            trials_off=profile.off,
            trials_fixed=profile.fixed,
            seconds=time.monotonic() - self._began,
            leaks=tuple(self._arena.leaks()),
            interrupted=interrupted,
            unfinished=tuple(unfinished),
            until_decided=bool(self._order.stretched),
        )
