"""`palace-lab hop RELEASE --after BEFORE`: one stop of a chain, in the environment it is run in.

`tox run -e hop-0.5.23,hop-0.6.3,...` makes an environment for each stop and runs this in it.
"""

from __future__ import annotations

from pathlib import Path

import click

from palace_lab.commands.options import PLACE
from palace_lab.commands.prepare import default_reports, why_no_tracing
from palace_lab.commands.replay import exit_code, show
from palace_lab.environments import resolve_release
from palace_lab.environments.own import own_environment
from palace_lab.errors import ExitCode, RefusedError
from palace_lab.runner.arena import Arena
from palace_lab.runner.cells import campaign_seed
from palace_lab.runner.chain import Chain
from palace_store.fixes import Fixes


@click.command("hop")
@click.argument("release", metavar="RELEASE")
@click.option("--after", default="", help="The release that handed the palace on; none: begin.")
@click.option("--chain", type=PLACE, help="Default: ./reports/hops.")
@click.option("--off", is_flag=True, help="Without our fixes, to see what they are for.")
def hop_command(release: str, after: str, chain: Path | None, *, off: bool) -> int:
    """Take over the palace of a chain, check it, write, die in a flush, and hand it on.

    RELEASE is the chromadb of the environment this runs in. Exits with 1 if a check found a
    contradiction, 2 if what was handed on is missing or not the same any more.
    """
    named = resolve_release(release)
    before = resolve_release(after) if after else ""
    environment = own_environment(named)
    if reason := why_no_tracing():
        raise RefusedError(reason)
    directory = default_reports() / "hops" if chain is None else chain
    opened = (
        Chain.open(directory, before) if before else Chain.begin(directory, campaign_seed(None))
    )
    fixes = () if off else tuple(Fixes.all().words())
    with Arena([environment], scratch_root=None) as arena:
        trial = opened.stop(arena, named, before, fixes)
        leaks = arena.leaks()
    show(trial, 0, 1)
    code = exit_code([trial])
    if code == ExitCode.PROMISED:
        told = trial.evidence.expected if trial.evidence else None
        click.echo(
            f"{len(told.must) if told else 0} acknowledged drawers, each found by its own vector; "
            f"the palace is handed on in {directory / named}"
        )
    for leak in leaks:
        click.echo(f"left behind: {leak}", err=True)
    return int(code or (ExitCode.LEAK if leaks else ExitCode.PROMISED))
