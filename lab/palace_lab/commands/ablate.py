"""`palace-lab ablate`: every fix switched off alone, then in pairs where none alone is needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
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
from palace_lab.errors import ExitCode, UsageError
from palace_lab.judge.ablation import CONTROL, KEPT, Ablation, Removal, Spot
from palace_lab.judge.results import Row, RunResult
from palace_lab.report import ablation as words
from palace_lab.report.console import STYLES, Console
from palace_lab.report.records import read_records
from palace_lab.report.rundir import RunDirectory
from palace_lab.report.terminal import RunProgress
from palace_lab.report.words import shown_path
from palace_lab.runner import ablation
from palace_lab.runner.arena import Arena
from palace_lab.runner.campaign import Campaign, Order
from palace_lab.runner.cells import Profile, campaign_seed


@click.command("ablate")
@click.argument("names", nargs=-1, metavar="[SCENARIO|SYSTEM]...")
@click.option("--fix", "fixes", multiple=True, help="Only this fix; may be repeated.")
@releases_option
@click.option(
    "--nightly",
    is_flag=True,
    help="Also the scenarios that take longer, but for those of minutes a trial.",
)
@click.option("--trials", type=click.IntRange(1, 1000), default=3, show_default=True)
@seed_option
@jobs_option
@report_dir_option
@resume_option
@offline_option
def ablate_command(
    names: tuple[str, ...],
    fixes: tuple[str, ...],
    releases: tuple[str, ...],
    nightly: bool,
    trials: int,
    seed: int | None,
    jobs: int | None,
    report_dir: Path | None,
    resume: Path | None,
    offline: bool,
) -> int:
    """Switch each fix off, and say which scenario fails without it.

    A fix that none needs alone is tried in pairs with all others of its kind. Exits with 6 if one
    that no report names is not shown to be needed, or one that was named could not be tried, with 1
    if a scenario fails with every fix on.
    """
    tried = _fixes(fixes)
    names = recalled(names)
    # One trial of some takes minutes: thirty fixes would take days.
    listed = [
        each for each in chosen(names, nightly=nightly) if each.scenario.in_ci or each.name in names
    ]
    asked = resolve_all(releases)
    without_row(listed, asked)
    seed_of_all = campaign_seed(seed)
    console = Console()
    directory = run_directory(names, resume, report_dir, seed=seed_of_all)
    with ExitStack() as stack:
        progress = stack.enter_context(RunProgress(console))
        environments, refused = provide(
            needed(listed, asked), progress.environment, offline=offline
        )
        arena = stack.enter_context(Arena(environments, scratch_root=None))
        spots: list[Spot] = []

        def run(removals: Sequence[Removal]) -> RunResult:
            order = Order(
                scenarios=ablation.without(listed, removals),
                releases=[each.release for each in environments],
                asked=asked,
                refused=refused,
                profile=Profile(f"{trials} trials", off=trials, fixed=0),
                seed=seed_of_all,
                jobs=jobs or os.cpu_count() or 1,
                no_tracing=why_no_tracing(),
            )
            done = read_records(directory.results_path)
            result = Campaign(arena, order, directory, _Quiet(progress)).run(done)
            spots.extend(ablation.gather(listed, removals, result))
            return result

        try:
            result = run(ablation.singles(tried))
            pairs = ablation.couples(Ablation(tuple(spots)).idle(tried))
            if pairs and not result.interrupted:
                result = run(pairs)
            rest = Ablation(tuple(spots)).unshown(tried)
            others = ablation.partners(rest, tried)
            if others and not result.interrupted:
                result = run([(fix,) for fix in others])
            wider = [each for each in ablation.couples(rest, [*tried, *others])
                     if each not in pairs]  # fmt: skip
            if wider and not result.interrupted:
                result = run(wider)
            found = Ablation(tuple(spots))
            if not result.interrupted:
                words.write_ablation(found, tried, directory.path)
        except OSError as error:
            raise directory.broke_off(error, command="ablate") from error
    return _tell(console, found, tried, directory, result, named=fixes)


class _Quiet:
    """Shows of the rows only those that failed: here these are what is looked for."""

    def __init__(self, progress: RunProgress) -> None:
        self._progress = progress
        self.start = progress.start
        self.trial_done = progress.trial_done

    def row_done(self, row: Row) -> None:
        """Say that a scenario fails without what it was robbed of."""
        arm = row.arm("off")
        if arm is not None and any(each.signature for each in arm.trials):
            said = ", ".join(f"{name} {count}" for name, count in arm.verdict.outcomes)
            self._progress.note(f"{row.scenario} on {row.release}: {said}")


def _fixes(asked: tuple[str, ...]) -> list[str]:
    known = ablation.all_fixes()
    for name in asked:
        if name not in known:
            raise UsageError(f"there is no fix named {name!r}; the fixes are: {', '.join(known)}")
    return [name for name in known if name in asked or not asked]


def _tell(
    console: Console,
    found: Ablation,
    tried: list[str],
    directory: RunDirectory,
    result: RunResult,
    *,
    named: Sequence[str] = (),
) -> int:
    console.say()
    # Half an ablation shows what is needed, and nothing about the rest.
    told = [fix for fix in tried if not result.interrupted or found.needs(fix)]
    for line in words.lines(found, told):
        console.say(line, hang=4)
    for line in words.troubles(found):
        console.say(line, STYLES["told"], hang=2)
    console.say()
    console.say(f"{sum(spot.tried for spot in found.spots)} trials · {directory.path}", "dim")
    if result.interrupted:
        again = shown_path(directory.path)
        console.say(f"interrupted; go on: {called()} ablate --resume {again}", STYLES["bad"])
        return int(ExitCode.INTERRUPTED)
    if any(spot.red for spot in found.of(CONTROL)):
        return int(ExitCode.VIOLATED)
    if any(spot.trouble for spot in found.of(CONTROL)):
        return int(ExitCode.UNKNOWN)
    open_ = [fix for fix in tried if not found.needs(fix) and (fix not in KEPT or fix in named)]
    if any(spot.trouble and set(open_) & set(spot.removed) for spot in found.spots):
        return int(ExitCode.UNKNOWN)
    shown_idle = [fix for fix in open_ if found.tried(fix) and fix not in KEPT]
    untried = [fix for fix in open_ if not found.tried(fix) and fix in named]
    return int(ExitCode.VACUOUS if shown_idle or untried else ExitCode.PROMISED)
