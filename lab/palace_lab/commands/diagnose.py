"""`palace-lab diagnose PATH`: what is wrong with somebody's palace, without touching it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from palace_lab.commands.options import PLACE
from palace_lab.commands.patience import Patience
from palace_lab.errors import ExitCode
from palace_lab.report.console import Console
from palace_lab.repro.diagnosis import Verdict, diagnose
from palace_lab.repro.document import document
from palace_lab.repro.telling import show

EXIT_CODES: dict[Verdict, ExitCode] = {
    "healthy": ExitCode.PROMISED,
    "damaged": ExitCode.VIOLATED,
    "in motion": ExitCode.UNKNOWN,
}


@click.command("diagnose")
@click.argument("palace", type=PLACE, metavar="PATH")
@click.option("--json", "as_json", is_flag=True, help="One JSON object (docs/diagnose.md).")
def diagnose_command(palace: Path, as_json: bool) -> int:
    """Say what is wrong with a palace, and what to do; nothing in it is changed.

    Any palace of chromadb 0.4.24 or later, also one in use. Needs no chromadb.

    \b
    Exit codes: 0 healthy · 1 damaged · 2 not a palace, or it may not be read ·
    3 in motion or not to be read now: nothing can be said · 4 it took too long ·
    7 no room for a copy of what must be copied.
    """  # noqa: D301  (click wants the character itself)
    with Patience() as patience:
        found = diagnose(palace, tell=patience.tell)
    if as_json:
        click.echo(json.dumps(document(found), indent=1))
    else:
        show(found, Console())
    return int(EXIT_CODES[found.verdict])
