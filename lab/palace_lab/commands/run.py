"""`palace-lab run`: the main job, from a clone to the table of verdicts."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import click

from palace_lab.called import called
from palace_lab.commands.options import (
    jobs_option,
    offline_option,
    releases_option,
    report_dir_option,
    seed_option,
)
from palace_lab.commands.prepare import (
    chosen,
    needed,
    provide,
    recalled,
    resolve_all,
    resume_option,
    run_directory,
    why_no_tracing,
    without_row,
)
from palace_lab.report import github
from palace_lab.report.console import Console
from palace_lab.report.html_page import write_page
from palace_lab.report.junit import write_junit
from palace_lab.report.records import read_records
from palace_lab.report.summary import write_summary
from palace_lab.report.terminal import RunProgress
from palace_lab.report.words import shown_path
from palace_lab.runner.arena import Arena
from palace_lab.runner.campaign import Campaign, Order
from palace_lab.runner.cells import PROFILES, campaign_seed
from palace_lab.scenario import Size


@click.command("run")
@click.argument("names", nargs=-1, metavar="[SCENARIO|SYSTEM]...")
@click.option("--profile", type=click.Choice(sorted(PROFILES)), default="quick", show_default=True)
@releases_option
@click.option("--nightly", is_flag=True, help="Also the scenarios that take longer.")
@click.option("--processes", type=click.IntRange(1, 64), help="For scenarios that scale.")
@click.option("--triples", type=click.IntRange(1, 100_000), help="Triples for each process.")
@click.option("--drawers", type=click.IntRange(1, 100_000), help="Drawers for each process.")
@click.option("--trials", type=click.IntRange(1, 100_000), help="Trials an arm, for all arms.")
@seed_option
@jobs_option
@report_dir_option
@resume_option
@offline_option
def run_command(
    names: tuple[str, ...],
    profile: str,
    releases: tuple[str, ...],
    nightly: bool,
    processes: int | None,
    triples: int | None,
    drawers: int | None,
    trials: int | None,
    seed: int | None,
    jobs: int | None,
    report_dir: Path | None,
    resume: Path | None,
    offline: bool,
) -> int:
    """Run scenarios (all, or those named) on their arms, and print the table of verdicts."""
    names = recalled(names)
    scenarios = chosen(names, nightly=nightly, profile=PROFILES[profile])
    asked = resolve_all(releases)
    absent = without_row(scenarios, asked)
    seed = campaign_seed(seed)
    directory = run_directory(names, resume, report_dir, seed=seed)
    previous = read_records(directory.results_path)
    counts = PROFILES[profile] if trials is None else PROFILES[profile].with_trials(trials)
    with ExitStack() as stack:
        console = Console()
        progress = stack.enter_context(RunProgress(console))
        environments, refused = provide(
            needed(scenarios, asked), progress.environment, offline=offline
        )
        arena = stack.enter_context(Arena(environments, scratch_root=None))
        order = Order(
            scenarios=scenarios,
            releases=[each.release for each in environments],
            asked=asked,
            refused=refused,
            profile=counts,
            seed=seed,
            size=Size(processes or 0, triples or 0, drawers or 0),
            jobs=jobs or os.cpu_count() or 1,
            no_tracing=why_no_tracing(),
        )
        try:
            result = Campaign(arena, order, directory, progress).run(previous)
            write_page(result, directory.path)
            write_junit(result, directory.path)
            write_summary(result, directory.path)  # which names the files that are there
        except OSError as error:
            raise directory.broke_off(error, command="run") from error
        progress.finish(result, directory.path)
        for release, left_out in absent.items():
            console.say(
                f"no row on {release}, for which they are not: {', '.join(left_out)}", hang=2
            )
        if github.wanted(os.environ):
            for line in github.commands(result, directory.path, scenarios):
                click.echo(line)
        if result.interrupted:
            console.say(f"go on: {called()} run --resume {shown_path(directory.path)}", hang=2)
    return int(result.exit_code)
