"""What a run says while it runs: a bar with finished rows above it, or plain lines for a log.

Rules: a finished row is printed at once, so that the first verdict is on the screen early. A log
gets a line for each row and between rows at most one progress line in `QUIET_S` seconds, or in as
many as its maker says. All
methods may be called from several threads; leaving the context removes the bar.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import final

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from palace_lab.judge.results import Row, RunResult, TrialRecord
from palace_lab.report.console import STYLES, Console
from palace_lab.report.words import duration, one_line, row_sentence

#: Seconds between two progress lines of a log.
QUIET_S = 10.0
_REFRESHES_PER_S = 4
_BAR_WIDTH_MAX = 40


@final
class RunProgress:
    """Tells a user how a run is getting on."""

    def __init__(
        self,
        console: Console,
        *,
        clock: Callable[[], float] = time.monotonic,
        quiet_s: float = QUIET_S,
    ) -> None:
        self._console = console
        self._clock = clock
        self._quiet_s = quiet_s
        self._lock = threading.RLock()
        self._live: Live | None = None
        self._began = self._said = clock()
        self._total = self._done = self._before = 0
        self._running = ""

    def __enter__(self) -> RunProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._stop()

    def environment(self, sentence: str) -> None:
        """Say what is found or built before the first trial."""
        self._console.say(one_line(sentence), "dim", hang=2)

    def start(self, total_trials: int, *, already: int = 0) -> None:
        """Begin; `already` of the trials were taken over from an earlier, interrupted run."""
        with self._lock:
            self._total = total_trials
            self._done = self._before = already
            self._began = self._said = self._clock()
            if self._console.is_terminal and self._live is None:
                self._live = Live(
                    get_renderable=self._render,
                    console=self._console.rich,
                    refresh_per_second=_REFRESHES_PER_S,
                    transient=True,
                )
                self._live.start()
        if not self._console.is_terminal and total_trials:
            taken_over = f", {already} of them taken over" if already else ""
            self._console.say(f"{total_trials} trials{taken_over}")

    def expect(self, total_trials: int) -> None:
        """Correct the number of trials: a race goes on until it is decided."""
        with self._lock:
            self._total = max(total_trials, self._done)

    def running(self, what: str) -> None:
        """Say what has just begun to run: scenario, release, arm."""
        with self._lock:
            self._running = f"running: {one_line(what)}"

    def trial_done(self, record: TrialRecord) -> None:
        """Count a trial."""
        with self._lock:
            self._done += 1
            self._total = max(self._total, self._done)
            if not self._running.startswith("running"):
                self._running = one_line(f"done: {record.scenario} {record.release} {record.arm}")
            if not self._console.is_terminal and self._clock() - self._said >= self._quiet_s:
                self._log(self._running)

    def row_done(self, row: Row) -> None:
        """Print a finished row."""
        sentence = row_sentence(row)
        if row.arms:
            sentence += f" · {duration(row.seconds)}"
        with self._lock:
            if self._console.is_terminal:
                good = row.good and bool(row.arms)
                self._console.say(sentence, STYLES["quiet" if good else "bad"], hang=4)
                if self._live is not None:
                    self._live.refresh()  # else the bar says until its next turn what it last said
            else:
                self._log(sentence)

    def note(self, sentence: str) -> None:
        """Say something the user should know meanwhile."""
        self._console.say(one_line(sentence), "yellow", hang=2)

    def finish(self, result: RunResult, directory: Path) -> None:
        """Remove the bar and print the table with what belongs under it."""
        self._stop()
        self._console.result(result, directory)

    def _stop(self) -> None:
        with self._lock:
            live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _log(self, sentence: str) -> None:
        self._said = self._clock()
        digits = len(str(self._total))
        self._console.say(f"[{self._done:{digits}}/{self._total}] {self._pace()} · {sentence}")

    def _pace(self) -> str:
        done = self._done - self._before
        seconds = self._clock() - self._began
        if not done or seconds <= 0:
            return "no trial done yet"
        rate = done / seconds
        number = f"{rate:.1f}" if rate >= 1 else f"{rate:.2f}"
        left = (self._total - self._done) / rate
        return f"{number} trials/s" + (f" · {duration(left)} left" if left > 0 else "")

    def _render(self) -> Group:
        """Return the bar; called by the display's own thread, so it takes no lock and waits not."""
        words = Text(f"{self._done}/{self._total} trials · {self._pace()}", no_wrap=True)
        width = max(1, min(_BAR_WIDTH_MAX, self._console.width - len(words) - 3))
        grid = Table.grid(padding=(0, 2))
        grid.add_row(ProgressBar(max(1, self._total), self._done, width=width), words)
        return Group(grid, Text(self._running, style="dim", no_wrap=True, overflow="ellipsis"))
