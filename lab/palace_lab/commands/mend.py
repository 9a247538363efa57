"""`palace-lab mend PATH --into COPY`: a mended copy of somebody's palace, which itself stays."""

from __future__ import annotations

import os
from pathlib import Path

import click
from packaging.version import Version

from palace_lab.called import called
from palace_lab.commands.options import PLACE, offline_option
from palace_lab.commands.patience import Patience
from palace_lab.environments import ensure, known_releases, resolve_release
from palace_lab.errors import ExitCode, UsageError
from palace_lab.report.console import STYLES, Console
from palace_lab.report.words import one_line, shown_path, size
from palace_lab.repro.diagnosis import Diagnosis, diagnose
from palace_lab.repro.facts import Reading
from palace_lab.repro.mending import Mended, check_target, copy_palace, mend_copy, refuse_held
from palace_lab.repro.release import OpenedBy
from palace_lab.repro.telling import verdict, verdict_style
from palace_store.anatomy.findings import some

_IDS_MAX = 5
#: With these chromadb opens nothing of the copy either, or must not.
_HOPELESS = frozenset(
    {"pickle-refused", "database-missing", "database-unreadable", "tables-incomplete"}
)


@click.command("mend")
@click.argument("palace", type=PLACE, metavar="PATH")
@click.option(
    "--into",
    type=PLACE,
    required=True,
    metavar="COPY",
    help="Where the mended copy goes: a folder that is not there yet.",
)
@click.option("--release", default="", help="The chromadb that your program has, such as 1.5.9.")
@offline_option
def mend_command(palace: Path, into: Path, release: str, *, offline: bool) -> int:
    """Make a copy of a palace and mend that with palace_store; the palace itself is only read.

    Every vector that the log or any file still holds comes back; what is lost is listed. Without
    --release the copy is opened with the newest chromadb whose tables are the palace's own.

    \b
    Exit codes: 0 the copy is healthy, or the palace was and there is no copy · 1 something is left
    that nothing mends · 2 not a palace, in use, or no release to mend it with · 3 the mending
    process was refused or died · 4 it took too long · 7 no room for the copy, or no environment.
    """  # noqa: D301  (click wants the character itself)
    console = Console()
    if os.path.isdir(palace):  # noqa: PTH112 - of any name; what else is wrong with it is told below
        check_target(palace.resolve(), into)
    with Patience() as patience:
        before = diagnose(palace, tell=patience.tell)
        place = before.palace
        console.say(f"{_name(place)}: {verdict(before)}", verdict_style(before))
        if not any(each.advice.mends for each in before.findings):
            return int(_show_nothing(before, console))
        target = check_target(place, into)
        refuse_held(place)
        _refuse_hopeless(before)
        chosen = _release(release, before.reading)
        environment = ensure(chosen, progress=patience.tell, offline=offline)
        weight = copy_palace(place, target, patience.tell)
        console.say(
            f"copied to {_name(target)}, {size(weight)}; opened there with chromadb {chosen}"
        )
        mended = mend_copy(target, environment, patience.tell)
        after = diagnose(target, tell=patience.tell)
    return int(_show(before, after, mended, console))


def _release(asked: str, reading: Reading) -> str:
    """Return the release to mend with; `UsageError` where none is known, or it cannot read this.

    Where it is not said: the one palace_store noted, else the newest whose tables are the palace's.
    """
    noted = reading.store.chromadb if reading.store is not None else ""
    opened = reading.opened or OpenedBy(None, None, newer_than_known=False)
    if asked or noted:
        chosen = resolve_release(asked or noted)
        oldest = max(filter(None, (noted, opened.at_least)), key=Version, default="0")
        if Version(chosen) < Version(oldest):
            raise UsageError(
                f"chromadb {chosen} is older than the {oldest} that opened the palace and cannot "
                "read it: name the one your program has"
            )
        return chosen
    alike = [
        each
        for each in known_releases()
        if opened.at_least is not None
        and Version(opened.at_least) <= Version(each)
        and (opened.below is None or Version(each) < Version(opened.below))
    ]
    if not alike or opened.newer_than_known:
        raise UsageError(
            f"the newest chromadb that opened the palace is {opened.words}, and none here writes "
            "the same tables: say with --release which one your program has"
        )
    return max(alike, key=Version)


def _refuse_hopeless(before: Diagnosis) -> None:
    for each in before.findings:
        if each.claim.kind in _HOPELESS:
            raise UsageError(
                f"{one_line(each.claim.sentence)} Nothing here mends that: {each.advice.remedy}"
            )


def _show_nothing(before: Diagnosis, console: Console) -> ExitCode:
    if before.verdict == "healthy":
        console.say("nothing to mend, so no copy was made")
        return ExitCode.PROMISED
    console.say("nothing here mends what was found, so no copy was made; what to do about it:")
    console.say(f"  {called()} diagnose {shown_path(before.palace)}", "cyan")
    return ExitCode.VIOLATED


def _show(before: Diagnosis, after: Diagnosis, mended: Mended, console: Console) -> ExitCode:
    for line in mended.said:
        console.say(f"  {line}", hang=4)
    missing = {each.name: each.unfindable for each in before.reading.collections}
    cut_off, still = _unreachable(before), _unreachable(after)
    fewer = 0
    for name, rows in mended.rows.items():
        ids = tuple(dict.fromkeys((*mended.unfindable[name], *still.get(name, ()))))
        first = missing.get(name, 0) + len(cut_off.get(name, ()))
        console.say(
            f"collection {one_line(name)}: {rows} rows, found by no search: "
            f"{first} before, {len(ids)} now"
        )
        fewer += max(0, len(ids) - first)
        if ids:
            shown = one_line(some(ids, _IDS_MAX))
            console.say(f"  write these again, from their documents: {shown}", hang=2)
    console.say(f"{_name(after.palace)}: {verdict(after)}", verdict_style(after))
    if fewer:
        console.say(
            f"the copy finds {fewer} drawers fewer than the palace, where what is found may be "
            "another's vector: write them again before it takes the palace's place",
            STYLES["bad"],
        )
    healthy = after.verdict == "healthy"
    if not healthy:
        console.say("what is left, and what to do about it (with every id: --json):")
        console.say(f"  {called()} diagnose {shown_path(after.palace)}", "cyan")
    console.say(f"{_name(before.palace)} is as it was", STYLES["quiet"])
    return ExitCode.PROMISED if healthy else ExitCode.VIOLATED


def _unreachable(found: Diagnosis) -> dict[str | None, tuple[str, ...]]:
    """Return by collection the ids of drawers that are in its index, and no link leads to."""
    claims = (each.claim for each in found.findings)
    return {each.collection: each.ids for each in claims if each.kind == "index-unreachable"}


def _name(path: Path) -> str:
    return one_line(str(path))
