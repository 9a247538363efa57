"""The options that commands share, so that one word means the same to all of them."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import click

from palace_lab.commands.durations import seconds_of
from palace_lab.runner.cells import SEED_VARIABLE


class _Place(click.Path):
    """A path that is named: `Path("")`, of a variable that is not set, is the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if os.fspath(value) in ("", b""):
            self.fail("the path is empty: name one", param, ctx)
        return super().convert(value, param, ctx)


class Amount(click.FloatRange):
    """A number in a range; NaN is in none, though it is beyond neither end of it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or say what is wrong with it."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is no number", param, ctx)
        return number


#: A file or folder. Whoever opens one that may not be read says so, in the sentence of the command.
PLACE = _Place(path_type=Path, readable=False)


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
