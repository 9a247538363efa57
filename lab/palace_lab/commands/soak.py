"""`palace-lab soak`: trials drawn by lot for hours, and one line about what is new.

Its parts: the lot and the guards (runner), the verdict (judge/night.py), the directories of nights
and the ledger (report).
"""

from __future__ import annotations

import os
import platform
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path

import click

from palace_lab.commands import notify as hook
from palace_lab.commands.durations import bytes_of, seconds_of
from palace_lab.commands.options import PLACE, Amount, jobs_option, releases_option
from palace_lab.commands.prepare import default_reports
from palace_lab.commands.session import Asked, Session, begin
from palace_lab.errors import ExitCode, LabError
from palace_lab.report.console import STYLES, Console
from palace_lab.report.night_ledger import Ledger
from palace_lab.report.nights import Keep, retire, working_in
from palace_lab.runner.cells import SEED_VARIABLE, campaign_seed
from palace_lab.runner.guards import Limits
from palace_lab.runner.offline import forbid_network
from palace_lab.runner.trial import derived_seed

_FOLDER = "soak"
_GB = 1000**3


@click.command("soak")
@click.argument("names", nargs=-1, metavar="[SCENARIO|SYSTEM]...")
@click.option("--for", "seconds", type=seconds_of, metavar="TIME", default="8h", show_default=True)
@releases_option
@click.option("--seed", type=int, help=f"Default: ${SEED_VARIABLE}, else date and machine.")
@jobs_option
@click.option("--write-budget", type=bytes_of, metavar="SIZE", default="200GB", show_default=True)
@click.option(
    "--temperature-max",
    type=Amount(0, 150),
    default=80.0,
    show_default=True,
    help="Pause above it, in degrees Celsius; 0: never.",
)
@click.option("--memory-max", type=bytes_of, metavar="SIZE", default="3GB", show_default=True)
@click.option("--keep-nights", type=click.IntRange(1, 10_000), default=14, show_default=True)
@click.option("--keep-gb", type=Amount(0.001, 100_000), default=2.0, show_default=True)
@click.option("--notify", help="A command that reads the one line, or has it for its word {}.")
@click.option("--soak-dir", type=PLACE, help="Default: ./reports/soak.")
@click.option("--resume", is_flag=True, help="Go on with the last night if it was cut off.")
@click.option("--offline", is_flag=True, help="Ask no index: what is built, or uv has cached.")
def soak_command(
    names: tuple[str, ...],
    seconds: float,
    releases: tuple[str, ...],
    seed: int | None,
    jobs: int | None,
    write_budget: int,
    temperature_max: float,
    memory_max: int,
    keep_nights: int,
    keep_gb: float,
    notify: str | None,
    soak_dir: Path | None,
    resume: bool,
    offline: bool,
) -> int:
    """Draw scenarios, releases and seeds for hours; say in one line what is new since last night.

    All scenarios take part, or those named. Red is what is red in a run, and a night whose canary,
    a library that must fail under a scenario that must hold, was silent.
    """
    told = hook.words_of(notify) if notify is not None else None
    folder = (soak_dir if soak_dir is not None else default_reports() / _FOLDER).absolute()
    wanted = Limits(
        seconds=seconds,
        written_bytes=write_budget,
        celsius=temperature_max,
        memory_bytes=memory_max,
    )
    keep = Keep(nights=keep_nights, disk_bytes=round(keep_gb * _GB))
    console = Console()
    with ExitStack() as stack:
        stack.enter_context(working_in(folder))
        ledger = Ledger(folder)
        if ledger.trouble:
            console.say(ledger.trouble, STYLES["told"], hang=2)
        begun = begin(
            console, folder, ledger, Asked(names, releases, _seed(seed)), keep, resume=resume
        )
        if offline:
            forbid_network()
        session = Session(console, folder, ledger, begun, wanted, jobs or os.cpu_count() or 1)
        try:
            line, code = session.play(offline=offline)
        except LabError as error:
            line, code = str(error), error.exit_code
            console.say(line, STYLES["bad"], hang=2)
        retire(folder, keep, current=begun.night.path)
    if told is not None and code is not ExitCode.INTERRUPTED and (wrong := hook.tell(told, line)):
        console.say(wrong, STYLES["told"], hang=2)
    return int(code)


def _seed(given: int | None) -> int:
    """Return the seed of a night: given, by the variable, or from the date and the machine."""
    if given is not None or os.environ.get(SEED_VARIABLE):
        return campaign_seed(given)
    today = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    return derived_seed(0, "night", today, platform.node())
