"""A soak: trials drawn by lot, one after the other, for as long as it may go on.

Rules:
- What is drawn depends on the night's seed (`lot`), what a trial does on its own seed; so each can
  be done again, and a night that goes on draws what it would have drawn.
- A record is on the disk before it counts. Plan and history stay of whatever is red, up to
  `KEPT` of a kind, and of the first and each faster one of a kind; a trial that held as it must
  leaves its record only.
- A canary is judged like any trial that must hold. Only afterwards it is looked up in the lot that
  it was one, and it is written down under that name.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Protocol

import msgspec

from palace_lab.judge.night import Canary, NightResult
from palace_lab.judge.results import TrialRecord
from palace_lab.report.night_ledger import Ledger
from palace_lab.report.nights import Night
from palace_lab.report.records import ResultsFile
from palace_lab.runner.arena import Arena
from palace_lab.runner.bench import Bench
from palace_lab.runner.deadline import STEP_S_MAX
from palace_lab.runner.field import CANARY, Field, SoakOrder
from palace_lab.runner.guards import Guards
from palace_lab.runner.lot import Draw, draws

#: Red trials of one kind whose plan and history are kept.
KEPT = 20
#: So long a trial may go on when the night is over: longer than it takes to call a step stuck.
GRACE_S = 1.5 * STEP_S_MAX
#: Between two times the ledger is written; what is in the records can be taken in again.
_SAVE_EVERY_S = 600.0
_LOOK_S = 1.0


class Watcher(Protocol):
    """Whoever watches a soak."""

    def trial_done(self, record: TrialRecord) -> None:
        """Hear of a trial."""

    def expect(self, total_trials: int) -> None:
        """Hear how many trials it will be in all, as far as can be said."""

    def note(self, sentence: str) -> None:
        """Hear of something else."""


class Soak:
    """One night's trials, in one arena."""

    def __init__(
        self,
        arena: Arena,
        order: SoakOrder,
        night: Night,
        guards: Guards,
        ledger: Ledger,
        watcher: Watcher,
    ) -> None:
        self._arena, self._seed, self._night = arena, order.seed, night
        self._guards, self._ledger, self._watcher = guards, ledger, watcher
        self._bench = Bench(arena, night.directory)
        self._results = ResultsFile(night.directory.results_path, durable=True)
        self.field = Field(order)
        self.records: list[TrialRecord] = []
        self._kept: Counter[tuple[str, ...]] = Counter()
        self._fastest_s: dict[tuple[str, ...], float] = {}
        self._saved_s = time.monotonic()
        self._over_s: float | None = None
        self._ended, self._cut_short = "", ""

    def run(self, previous: Iterable[TrialRecord]) -> NightResult:
        """Go on from what is recorded already, until a guard says that it is over."""
        for record in previous:
            self._count(record)
        done = {_draw_key(record) for record in self.records}
        lot = draws(self.field.tickets(), self._seed)
        coming = (draw for draw in lot if draw.key not in done)
        running: dict[Future[TrialRecord], Draw] = {}
        pool = ThreadPoolExecutor(self._guards.jobs, thread_name_prefix="trial")
        interrupted = False
        try:
            self._work(pool, coming, running)
        except KeyboardInterrupt:
            interrupted = True
            self._arena.interrupt()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            self._results.close()
        ended = "" if interrupted else self._ended
        self._checkpoint(ended=ended)
        return self._result(interrupted=interrupted)

    def _work(
        self,
        pool: ThreadPoolExecutor,
        coming: Iterator[Draw],
        running: dict[Future[TrialRecord], Draw],
    ) -> None:
        waited_for = ""
        while True:
            go = self._guards.look(len(running))
            if go.why and go.why.split(":")[0] != waited_for:
                self._watcher.note(go.why)
            waited_for = go.why.split(":")[0]
            while len(running) < go.jobs and (draw := next(coming, None)) is not None:
                running[pool.submit(self._trial, draw)] = draw
            if not running and (go.over or go.jobs):
                self._ended = go.over or "nothing is left to draw"
                self._cut_short = go.over if go.cut_short else ""
                return
            if running and go.over and self._late():
                self._watcher.note(
                    f"cut off after {GRACE_S / 60:.0f} minutes: {len(running)} trials"
                )
                self._arena.interrupt()
                self._ended, self._cut_short = go.over, go.over if go.cut_short else ""
                return
            if running:
                finished, _ = wait(running, return_when=FIRST_COMPLETED, timeout=_LOOK_S)
                for future in finished:
                    running.pop(future)
                    self._take(future.result())
            else:
                time.sleep(_LOOK_S)

    def _late(self) -> bool:
        """Tell whether the trials under way have had their time since it was over."""
        if self._over_s is None:
            self._over_s = time.monotonic()
        return time.monotonic() - self._over_s >= GRACE_S

    def _trial(self, draw: Draw) -> TrialRecord:
        role = CANARY if draw.canary else draw.role
        cell = self.field.cells[draw.scenario, draw.release, role]
        record = self._bench.trial(cell, draw.index)
        return msgspec.structs.replace(record, arm=CANARY) if draw.canary else record

    def _take(self, record: TrialRecord) -> None:
        record = self._keep(record)
        self._results.append(record)
        self._guards.add_left(record.written_bytes)
        self._count(record)
        self._watcher.trial_done(record)
        if self._red(record):
            self._watcher.note(_said(record))
        worked_s = self._guards.worked_s
        self._watcher.expect(round(len(self.records) * self._guards.seconds / max(1.0, worked_s)))
        self._night.note_in_time(worked_s, self._guards.written_bytes)
        if time.monotonic() - self._saved_s >= _SAVE_EVERY_S:
            self._checkpoint()

    def _count(self, record: TrialRecord) -> None:
        cell = self.field.cells.get((record.scenario, record.release, record.arm))
        if cell is None:
            return  # of a scenario that is gone since, or left out
        # A night has many trials: what is on the disk need not be in memory as well.
        slim = msgspec.structs.replace(record, violations=record.violations[:1], exits={}, goals={})
        cell.records[record.index] = slim
        self.records.append(slim)
        kind = _kind(record)
        self._kept[kind] += bool(record.plan)
        self._fastest_s[kind] = min(record.seconds, self._fastest_s.get(kind, record.seconds))

    def _keep(self, record: TrialRecord) -> TrialRecord:
        kind = _kind(record)
        faster = record.seconds < self._fastest_s.get(kind, float("inf"))
        if self._red(record):
            wanted = faster or self._kept[kind] < KEPT
        else:
            as_usual = record.arm == "fixed" and record.reached
            wanted = faster and not as_usual
        paths = [self._night.directory.absolute(each) for each in (record.plan, record.history)]
        if wanted:
            with paths[0].open("rb") as plan:
                os.fsync(plan.fileno())
            return record
        paths[0].unlink(missing_ok=True)
        if record.history:
            paths[1].unlink(missing_ok=True)
        return msgspec.structs.replace(record, plan="", history="")

    def _red(self, record: TrialRecord) -> bool:
        """Tell whether one trial alone is worth a look at once."""
        failed = record.signature is not None
        return bool(record.lab_error) or (
            failed if record.arm == "fixed" else record.arm == CANARY and not failed
        )

    def _checkpoint(self, *, ended: str = "") -> None:
        self._ledger.take_in(self._night.name, self.records, self._night.path)
        self._ledger.save()
        self._night.note(self._guards.worked_s, self._guards.written_bytes, ended=ended)
        self._saved_s = time.monotonic()

    def _result(self, *, interrupted: bool) -> NightResult:
        canaries = [record for record in self.records if record.arm == CANARY]
        tried = [record for record in canaries if not record.lab_error]
        return NightResult(
            judged=tuple(self.field.judged()),
            canary=Canary(sum(each.signature is not None for each in tried), len(tried)),
            trials=len(self.records),
            seconds=self._guards.worked_s,
            written_bytes=self._guards.written_bytes,
            left_out=len(self.field.left_out),
            leaks=() if interrupted else tuple(self._arena.leaks()),
            ended=self._ended,
            cut_short=self._cut_short,
            interrupted=interrupted,
        )


def _draw_key(record: TrialRecord) -> tuple[str, str, str, int]:
    arm = "fixed" if record.arm == CANARY else record.arm
    return (record.scenario, record.release, arm, record.index)


def _kind(record: TrialRecord) -> tuple[str, ...]:
    return (record.scenario, record.release, record.arm, record.signature or "")


def _said(record: TrialRecord) -> str:
    where = f"{record.scenario} on {record.release}, seed {record.seed}"
    if record.lab_error:
        return f"the lab itself, {record.arm} of {where}: {record.lab_error}"
    if record.arm == CANARY:
        return f"a canary held: {where}"
    return f"{record.signature} with all fixes on: {where}"
