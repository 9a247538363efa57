"""The command group `palace-lab envs`: list, build, prune and lock environments.

Rules. Results go to standard output, progress to standard error. A terminal gets one live line
with the elapsed time; anything else gets plain lines. Errors are raised for the caller to print.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import Progress as LiveProgress
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from palace_lab.environments import catalog, locking, newest
from palace_lab.environments.build import ensure
from palace_lab.environments.inventory import Listing, list_environments, prune
from palace_lab.environments.supplies import fetch_supplies
from palace_lab.provision.uvtool import Progress


@click.group()
def envs() -> None:
    """List, build and remove environments: one Python and one full lock per release."""


@envs.command("list")
def list_command() -> None:
    """Show every known release and what is built of it."""
    headings = ("release", "python", "state", "on disk", "path")
    rows = [_cells(row) for row in list_environments()]
    console = Console(highlight=False)
    if not console.is_terminal:
        # Never cut to a width: these lines are read by other programs.
        widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
        for row in (headings, *rows):
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            click.echo(line.rstrip())
        return
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading != "path")
    for row in rows:
        table.add_row(*row)
    console.print(table)


@envs.command("build")
@click.argument("releases", nargs=-1, metavar="[RELEASE]...")
@click.option("--offline", is_flag=True, help="Use only what uv has in its cache.")
def build_command(releases: tuple[str, ...], *, offline: bool) -> None:
    """Build environments that are not built yet; without a name, one per format on disk.

    What trials install beside chromadb is fetched into uv's cache as well: from then on only what
    pip installs needs a network.
    """
    wanted = [catalog.resolve_release(text) for text in releases or catalog.QUICK_RELEASES]
    for release in dict.fromkeys(wanted):
        begun = time.monotonic()
        with showing_progress() as progress:
            environment = ensure(release, progress=progress, offline=offline)
        seconds = time.monotonic() - begun
        click.echo(
            f"chromadb {release} on Python {environment.python_version}: {environment.directory} "
            f"({seconds:.1f} s)"
        )
    if not offline:
        with showing_progress() as progress:
            fetch_supplies(environment.python, progress)


@envs.command("prune")
def prune_command() -> None:
    """Remove what no lock asks for any more and what a killed build left."""
    with showing_progress() as progress:
        freed_bytes = prune(progress=progress)
    click.echo(f"{megabytes(freed_bytes)} freed; wheels stay in uv's cache (`uv cache prune`)")


@envs.command("lock")
@click.argument("name", metavar="RELEASE")
@click.option("--upgrade", is_flag=True, help="Take the newest versions, not those it has.")
def lock_command(name: str, *, upgrade: bool) -> None:
    """Make the lock of a release again, or of the lab itself for `lab`.

    `newest` and `newest-pre` ask the package index for the newest release, or for a pre-release
    that is newer, and note which it is for the commands that take a release. A lock it needs is
    written beside the environments, not into the checkout.
    """
    if word := catalog.newest_word(name):
        with showing_progress() as progress:
            release, path = newest.lock_newest(word, upgrade=upgrade, progress=progress)
        click.echo(f"{word} is chromadb {release}; its lock: {path}")
        return
    with showing_progress() as progress:
        path = locking.make_lock(name, upgrade=upgrade, progress=progress)
    click.echo(f"written: {path}")


@contextmanager
def showing_progress() -> Iterator[Progress]:
    """Give a function that shows sentences of progress on standard error until the block ends."""
    console = Console(file=sys.stderr, highlight=False)
    if not console.is_terminal:
        begun = time.monotonic()
        yield lambda sentence: click.echo(
            f"[{time.monotonic() - begun:6.1f} s] {sentence}", err=True
        )
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with LiveProgress(*columns, console=console, transient=True) as live:
        task = live.add_task("")
        yield lambda sentence: live.update(task, description=sentence)


def megabytes(size_bytes: int) -> str:
    """Return a size for people, in units of a million bytes."""
    return f"{size_bytes / 1_000_000:,.0f} MB"


def _cells(row: Listing) -> tuple[str, str, str, str, str]:
    size = megabytes(row.disk_bytes) if row.path else "-"
    return (row.release, row.python, row.state, size, str(row.path or "-"))
