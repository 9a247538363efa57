"""What commands share: environments by release, and which of them could not be had."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import click
from packaging.version import Version

from palace_lab.catalog import Listed, find_scenarios, select
from palace_lab.commands.options import PLACE
from palace_lab.environments import Environment, ensure, resolve_release
from palace_lab.errors import RefusedError, UsageError
from palace_lab.processes.supervise import tracing_available
from palace_lab.report.rundir import RunDirectory, asked_in
from palace_lab.runner.cells import PROFILES, Profile, shown_releases
from palace_lab.scenario import RELEASES, SQLITE, Size

Tell = Callable[[str], None]


def provide(
    releases: Iterable[str], tell: Tell, *, offline: bool = False
) -> tuple[list[Environment], dict[str, str]]:
    """Build what is missing; returns the environments and, by release, why one was refused."""
    ready: list[Environment] = []
    refused: dict[str, str] = {}
    for release in releases:
        try:
            ready.append(ensure(release, progress=tell, offline=offline))
        except RefusedError as error:
            refused[release] = str(error)
            tell(f"chromadb {release} is refused: {error}")
    return ready, refused


def resolve_all(texts: Iterable[str]) -> list[str]:
    """Return known releases for what a user typed, each once, in the order of release."""
    resolved = {resolve_release(text) for text in texts}
    return sorted(resolved, key=Version)


def why_no_tracing() -> str:
    """Return why crash points cannot be used on this machine, or "" if they can."""
    return tracing_available() or ""


def default_reports() -> Path:
    """Return where runs write: `reports/` of the current folder."""
    return Path.cwd() / "reports"


def chosen(
    names: tuple[str, ...], *, nightly: bool, profile: Profile = PROFILES["quick"]
) -> list[Listed]:
    """Return the scenarios named, or all of the profile; all there are with `nightly`."""
    found = select(find_scenarios(), names)
    by_name = {name for name in names if "/" in name}
    kept = [each for each in found if nightly or profile.has(each.scenario) or each.name in by_name]
    if not kept:
        raise UsageError("every scenario chosen is a nightly one; add --nightly to run it")
    return kept


def without_row(scenarios: list[Listed], asked: list[str]) -> dict[str, list[str]]:
    """Return for each release asked for which of the scenarios have no row on it.

    Raises `UsageError` where none has one on any.
    """
    absent: dict[str, list[str]] = {}
    rows = {each.name: shown_releases(each.scenario, asked) for each in scenarios}
    for release in asked:
        for each in scenarios:
            if release not in rows[each.name] and SQLITE not in rows[each.name]:
                absent.setdefault(release, []).append(each.name)
    if not any(rows.values()):
        own = [f"{each.name} is for {', '.join(each.scenario.releases)}" for each in scenarios[:3]]
        more = "; and so on" if len(scenarios) > len(own) else ""
        raise UsageError(
            f"nothing that was chosen runs on {', '.join(asked)}: {'; '.join(own)}{more}"
        )
    return absent


#: What a run is free to do differently when it goes on.
_NOT_ASKED = frozenset({"jobs", "report_dir", "resume", "offline"})


def _recall(ctx: click.Context, _: click.Parameter, resume: Path | None) -> Path | None:
    """Let what the run to go on with was asked for stand in for what is not said this time."""
    if resume is not None:
        ctx.default_map = asked_in(resume)
    return resume


resume_option = click.option(
    "--resume",
    type=PLACE,
    is_eager=True,
    callback=_recall,
    help="Go on with an interrupted one, asking for the same: its directory, or reports/latest.",
)


def recalled(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names given, or those of the run to go on with (click recalls options only)."""
    asked = click.get_current_context().default_map or {}
    return names or tuple(str(name) for name in asked.get("names") or ())


def run_directory(
    names: tuple[str, ...], resume: Path | None, report_dir: Path | None, *, seed: int
) -> RunDirectory:
    """Open the directory of an earlier run to go on with, or make one that says what was asked."""
    if resume is not None:
        return RunDirectory.open_existing(resume)
    directory = RunDirectory.create(report_dir or default_reports())
    given = click.get_current_context().params
    asked = {name: value for name, value in given.items() if name not in _NOT_ASKED}
    if "releases" in asked:
        asked["releases"] = resolve_all(asked["releases"])  # the newest may be another by then
    directory.note_asked({**asked, "names": names, "seed": seed})
    return directory


def needed(scenarios: list[Listed], asked: list[str]) -> list[str]:
    """Return the releases to provide: what was asked for, or else the quick profile's.

    With them come those that scenarios have rows for or that plans name, asked for or not.
    """
    named = {*(asked or RELEASES)}
    for each in scenarios:
        rows = shown_releases(each.scenario, asked)
        named |= {release for release in rows if release != SQLITE}
        if not rows:
            continue
        for arm in each.scenario.arms():
            plan = each.scenario.plan_for(arm, "", 0, Size(), each.name)
            named |= plan.releases() - {""}
    return resolve_all(named)
