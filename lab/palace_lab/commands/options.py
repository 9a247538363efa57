"""The options that commands share, so that one word means the same to all of them."""

from __future__ import annotations

import math
import re
from pathlib import Path

import click

from palace_lab.runner.cells import SEED_VARIABLE

_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "": 1.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)([hms]?)")


def _seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Return a time as people write it in seconds: `90`, `90s`, `5m`, `1h30m`."""
    if value is None:
        return None
    text = str(value).strip().lower()  # a run to go on with recalls a number
    parts = _PART.findall(text)
    seconds = math.fsum(float(number) * _UNITS_S[unit] for number, unit in parts)
    if "".join(map("".join, parts)) != text or not 0 < seconds < math.inf:
        raise click.BadParameter(f"{value!r} is no time; write 90s, 5m or 1h30m", ctx, param)
    return seconds


releases_option = click.option(
    "--release", "releases", multiple=True, help="Only this chromadb; may be repeated."
)
seed_option = click.option("--seed", type=int, help=f"Default: ${SEED_VARIABLE}, else 1.")
jobs_option = click.option(
    "--jobs", type=click.IntRange(1, 64), help="Trials at once; default: cores."
)
report_dir_option = click.option(
    "--report-dir", type=click.Path(path_type=Path), help="Default: ./reports."
)
offline_option = click.option(
    "--offline", is_flag=True, help="Use only environments that are built already."
)
budget_option = click.option(
    "--budget", metavar="TIME", callback=_seconds, help="Begin no trial after this: 90s, 5m, 1h30m."
)
