"""Says on standard error what a command is doing, once that takes a while."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import final

from rich.status import Status

from palace_lab.report.console import Console
from palace_lab.report.terminal import QUIET_S
from palace_lab.report.words import duration

#: What takes no longer than this says nothing while it runs.
_SILENT_S = 2.0
_TICK_S = 0.5


@final
class Patience:
    """A context manager: a status line on a terminal, now and then a plain line elsewhere."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = Console(sys.stderr)
        self._clock = clock
        self._began = clock()
        self._said = self._began + _SILENT_S - QUIET_S
        self._status: Status | None = None

    def __enter__(self) -> Patience:
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def tell(self, doing: str) -> None:
        """Say what is being done; called at least twice a second."""
        now = self._clock()
        text = f"{doing}, {duration(now - self._began)} so far"
        if now - self._began < _SILENT_S:
            return
        if self._console.is_terminal:
            if self._status is None:
                self._status = self._console.rich.status(text)
                self._status.start()
            self._status.update(text)
        elif now - self._said >= QUIET_S:
            self._said = now
            self._console.say(text)


@contextmanager
def meanwhile(doing: str) -> Iterator[None]:
    """Say what is being done while a block runs that cannot say it itself."""
    over = threading.Event()
    with Patience() as patience:

        def tell() -> None:
            while not over.wait(_TICK_S):
                patience.tell(doing)

        teller = threading.Thread(target=tell, name="patience", daemon=True)
        teller.start()
        try:
            yield
        finally:
            over.set()
            teller.join()
