"""`palace-lab diagnose PATH`: what is wrong with somebody's palace, without touching it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import final

import click
from rich.status import Status

from palace_lab.errors import ExitCode
from palace_lab.report.console import Console
from palace_lab.report.terminal import QUIET_S
from palace_lab.report.words import duration
from palace_lab.repro.diagnosis import Verdict, diagnose
from palace_lab.repro.document import document
from palace_lab.repro.telling import show

#: What takes no longer than this says nothing while it runs.
_SILENT_S = 2.0
EXIT_CODES: dict[Verdict, ExitCode] = {
    "healthy": ExitCode.PROMISED,
    "damaged": ExitCode.VIOLATED,
    "in motion": ExitCode.UNKNOWN,
}


@click.command("diagnose")
@click.argument("palace", type=click.Path(path_type=Path), metavar="PATH")
@click.option("--json", "as_json", is_flag=True, help="One JSON object (docs/diagnose.md).")
def diagnose_command(palace: Path, as_json: bool) -> int:
    r"""Say what is wrong with a palace, and what to do; nothing in it is changed.

    Any palace of chromadb 0.4.24 or later, also one in use. Needs no chromadb.

    \b
    Exit codes: 0 healthy · 1 damaged · 2 not a palace, or it may not be read ·
    3 in motion or not to be read now: nothing can be said · 4 it took too long ·
    7 no room for a copy of what must be copied.
    """
    with _Progress() as progress:
        found = diagnose(palace, tell=progress.tell)
    if as_json:
        click.echo(json.dumps(document(found), indent=1))
    else:
        show(found, Console())
    return int(EXIT_CODES[found.verdict])


@final
class _Progress:
    """Says on stderr what is being done once it takes a while."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = Console(sys.stderr)
        self._clock = clock
        self._began = clock()
        self._said = self._began + _SILENT_S - QUIET_S
        self._status: Status | None = None

    def __enter__(self) -> _Progress:
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
