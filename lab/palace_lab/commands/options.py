"""The options that commands share, so that one word means the same to all of them."""

from __future__ import annotations

from pathlib import Path

import click

from palace_lab.commands.durations import seconds_of
from palace_lab.runner.cells import SEED_VARIABLE

#: A file or folder. Whoever opens one that may not be read says so, in the sentence of the command.
PLACE = click.Path(path_type=Path, readable=False)


def _seconds(value: str | float) -> float:
    """Return seconds; a run to go on with recalls a number."""
    return value if isinstance(value, float) else seconds_of(value)


releases_option = click.option(
    "--release", "releases", multiple=True, help="Only this chromadb; may be repeated."
)
seed_option = click.option("--seed", type=int, help=f"Default: ${SEED_VARIABLE}, else 1.")
jobs_option = click.option(
    "--jobs", type=click.IntRange(1, 64), help="Trials at once; default: cores."
)
report_dir_option = click.option("--report-dir", type=PLACE, help="Default: ./reports.")
offline_option = click.option(
    "--offline", is_flag=True, help="Ask no index: what is built, or uv has cached."
)
budget_option = click.option(
    "--budget", metavar="TIME", type=_seconds, help="Begin no trial after this: 90s, 5m, 1h30m."
)
