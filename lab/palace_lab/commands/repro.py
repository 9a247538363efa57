"""`palace-lab repro NAME`: a public report by its name, on all its arms.

The report's leading scenario is run on all arms, on one release, until a sequential test has
decided. The Markdown to paste goes to standard output, everything else to standard error.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import click
from rich.text import Text

from palace_lab.benchmarks.machine import describe
from palace_lab.called import called
from palace_lab.catalog import Listed, find_scenarios, scenarios_directory
from palace_lab.commands.options import (
    budget_option,
    jobs_option,
    offline_option,
    releases_option,
    report_dir_option,
    seed_option,
)
from palace_lab.commands.prepare import (
    needed,
    provide,
    recalled,
    resolve_all,
    resume_option,
    run_directory,
    why_no_tracing,
)
from palace_lab.environments import environments_home, list_environments
from palace_lab.errors import UsageError
from palace_lab.judge.verdict import Role
from palace_lab.report.console import Console
from palace_lab.report.records import read_records
from palace_lab.report.repro import NAME, Reproduction, restate, write_repro
from palace_lab.report.summary import write_summary
from palace_lab.report.terminal import RunProgress
from palace_lab.report.words import shown_path
from palace_lab.reported import Report, find_report, find_reports, scenarios_of
from palace_lab.repro.origin import environment_words, lab_words
from palace_lab.runner.arena import Arena
from palace_lab.runner.campaign import Campaign, Order
from palace_lab.runner.cells import PROFILES, Profile, campaign_seed, shown_releases
from palace_lab.scenario import RELEASES, SQLITE

_CLONE = Path(__file__).resolve().parents[3]
#: Without -n: the trials an arm gets at least, and which arms of a race go on until it is decided.
_BEGIN = replace(PROFILES["quick"], name="repro")
_ALL_ARMS: frozenset[Role] = frozenset({"off", "wrong", "as-reported", "fixed"})


@click.command("repro")
@click.argument("name", metavar="NAME", required=False)
@click.option("--all", "every", is_flag=True, help="All scenarios of the report, nightly ones too.")
@releases_option
@click.option("-n", "trials", type=click.IntRange(1, 100_000), help="Trials an arm, no test.")
@budget_option
@seed_option
@jobs_option
@report_dir_option
@resume_option
@offline_option
def repro_command(
    name: str | None,
    every: bool,
    releases: tuple[str, ...],
    trials: int | None,
    budget: float | None,
    seed: int | None,
    jobs: int | None,
    report_dir: Path | None,
    resume: Path | None,
    offline: bool,
) -> int:
    """Reproduce a public report by its name (`palace-lab list` shows all), on all arms.

    Prints Markdown to paste into the report, and exits with 0 if it shows with the fix off and not
    with all fixes on, 6 if it is not reproduced, 3 if that is undecided.
    """
    scenarios = find_scenarios()
    known = find_reports(scenarios, scenarios_directory())
    names = recalled(() if name is None else (name,))
    if not names:
        raise UsageError(f"name a report; there are: {', '.join(each.name for each in known)}")
    report = find_report(names[0], known)
    found = scenarios_of(report, scenarios)
    asked = resolve_all(releases)
    listed = narrowed(found if every else found[:1], asked, built=_built() if offline else None)
    seed = campaign_seed(seed)
    directory = run_directory((report.name,), resume, report_dir, seed=seed)
    previous = read_records(directory.results_path)
    profile = _BEGIN if trials is None else Profile(f"{trials} trials", off=trials, fixed=trials)
    console = Console(sys.stderr)
    with ExitStack() as stack:
        progress = stack.enter_context(RunProgress(console))
        _begin(console, report, listed, len(found))
        of_rows = asked or _releases_of(listed, _built() if offline else ())
        environments, refused = provide(
            needed(listed, of_rows), progress.environment, offline=offline
        )
        arena = stack.enter_context(Arena(environments, scratch_root=None))
        order = Order(
            scenarios=listed,
            releases=[each.release for each in environments],
            asked=(),
            refused=refused,
            profile=profile,
            seed=seed,
            jobs=jobs or os.cpu_count() or 1,
            no_tracing=why_no_tracing(),
            stretched=_ALL_ARMS if trials is None else frozenset(),
            budget_s=float("inf") if budget is None else budget,
        )
        made = Reproduction(
            report=report.name,
            title=report.title,
            command=_command(report, listed, seed=seed),
            made_with=(
                *environment_words(environments, used=_with_chromadb(listed)),
                describe(directory.path),
                f"{lab_words(_CLONE)}, seed {seed}, {order.jobs} trials at once",
            ),
            directory=directory.path,
            private=_private(directory.path),
            n_given=trials,
            fixes={
                each.name: {arm.role: arm.fixes for arm in each.scenario.arms()} for each in listed
            },
        )
        try:
            result = restate(Campaign(arena, order, directory, progress).run(previous), trials)
            write_summary(result, directory.path)
            text = write_repro(result, made)
        except OSError as error:
            raise directory.broke_off(error, command="repro") from error
        progress.finish(result, directory.path)
    if result.interrupted:
        console.say(f"go on: {called()} repro --resume {shown_path(directory.path)}", hang=2)
    if result.rows:  # else it was interrupted, or out of time, before there was anything to tell
        where = shown_path(directory.path / NAME)
        console.say(f"to paste into the report, also in {where}:", "bold")
        console.say()
        Console().write(Text(text.rstrip("\n")))
    return int(result.exit_code)


def narrowed(
    scenarios: Sequence[Listed], asked: Sequence[str], *, built: Sequence[str] | None = None
) -> list[Listed]:
    """Return the scenarios with only the releases to run on: those asked for, or the newest.

    `built`: only these can be had, so the newest of them is taken, where there is any. Raises
    `UsageError` if no scenario runs on what was asked for.
    """
    kept: list[Listed] = []
    for each in scenarios:
        releases = shown_releases(each.scenario, asked)
        if not asked and releases != [SQLITE]:
            releases = resolve_all(releases)
            can = [release for release in releases if built is None or release in built]
            releases = (can or releases)[-1:]
        if releases:
            kept.append(replace(each, scenario=replace(each.scenario, releases=tuple(releases))))
    if not kept:
        there = dict.fromkeys(release for each in scenarios for release in each.scenario.releases)
        raise UsageError(
            f"{scenarios[0].name} does not run on chromadb {', '.join(asked)}; "
            f"it is about {', '.join(there)}"
        )
    return kept


def _with_chromadb(listed: Sequence[Listed]) -> bool:
    return any(set(each.scenario.releases) - {SQLITE} for each in listed)


def _releases_of(listed: Sequence[Listed], built: Sequence[str]) -> list[str]:
    """Return the releases to have: for rows without chromadb any, out of those built if can be."""
    named = {release for each in listed for release in each.scenario.releases} - {SQLITE}
    return resolve_all(named) or resolve_all(built)[-1:] or [RELEASES[-1]]


def _built() -> list[str]:
    return [each.release for each in list_environments() if each.state == "built"]


def _begin(console: Console, report: Report, listed: Sequence[Listed], known: int) -> None:
    console.say(f"{report.name}: {report.title}", "bold", hang=2)
    for each in listed:
        releases = ", ".join(each.scenario.releases)
        where = "SQLite" if releases == SQLITE else f"chromadb {releases}"
        console.say(f"{each.name} on {where}: {each.sentence}", hang=2)
    if len(listed) < known:
        console.say(f"{known - len(listed)} more scenarios name this report: --all", "dim")


def _command(report: Report, listed: Sequence[Listed], *, seed: int) -> str:
    """Return the line that does the same again: every option that has a part in the result."""
    given = click.get_current_context().params
    words = ["palace-lab", "repro", report.name]
    words += ["--all"] if given["every"] else []
    chosen = resolve_all(given["releases"])
    if not chosen and not given["every"]:
        chosen = [each for each in listed[0].scenario.releases if each != SQLITE]
    words += [word for release in chosen for word in ("--release", release)]
    words += ["-n", str(given["trials"])] if given["trials"] else []
    words += ["--budget", f"{given['budget']:g}s"] if given["budget"] else []
    words += ["--jobs", str(given["jobs"])] if given["jobs"] else []
    return shlex.join([*words, "--seed", str(seed)])


def _private(directory: Path) -> tuple[Path, ...]:
    """Return the places of this machine that no text to paste may name."""
    places = [
        Path.home(),
        Path.cwd(),
        Path(tempfile.gettempdir()),
        _CLONE,
        directory,
        scenarios_directory(),
        environments_home(),
    ]
    return tuple(dict.fromkeys([*places, *(each.resolve() for each in places)]))
