"""`palace-lab replay PLAN`: one plan again, alone, with everything it found said."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from palace_lab.commands.options import PLACE
from palace_lab.commands.patience import meanwhile
from palace_lab.commands.prepare import provide, why_no_tracing
from palace_lab.errors import ExitCode, RefusedError, UsageError
from palace_lab.plan import load_plan, steps
from palace_lab.plan.model import Plan
from palace_lab.report.html_page import NAME, write_page
from palace_lab.report.rundir import RunDirectory
from palace_lab.report.summary import write_summary
from palace_lab.report.words import duration, shown_path
from palace_lab.runner.arena import Arena
from palace_lab.runner.baseline import Baselines
from palace_lab.runner.played import Played
from palace_lab.runner.trial import Trial, run_trial, with_points


@click.command("replay")
@click.argument("plan_file", type=PLACE, metavar="PLAN")
@click.option("-n", "times", type=click.IntRange(1, 10_000), default=1, help="How often.")
@click.option("--keep", type=PLACE, help="New folder to copy each palace to.")
@click.option("--report-dir", type=PLACE, help="Write a page with a picture of each trial here.")
def replay_command(plan_file: Path, times: int, keep: Path | None, report_dir: Path | None) -> int:
    """Play the plan of a trial again and say what every check found.

    Where the plan has a crash at a share of the way (`at`), an undisturbed run is made before.

    Exits with 0 if everything held, 1 if a check found a contradiction, which is what the plan of
    an off arm is for, 2 if the plan makes no sense, 3 if the lab itself failed, 6 if a fault was
    not reached.
    """
    plan = load_plan(plan_file)
    if keep is not None and os.path.lexists(keep):
        raise UsageError(f"{keep} is there already: name a folder that is not")
    environments, refused = provide(
        sorted(plan.releases()), lambda text: click.echo(text, err=True)
    )
    for reason in refused.values():
        raise RefusedError(reason)
    traced = any(isinstance(step, steps.TRACED) for step in plan.steps)
    if traced and (reason := why_no_tracing()):
        raise RefusedError(reason)
    directory = None if report_dir is None else RunDirectory.create(report_dir)
    trials: list[Trial] = []
    with Arena(environments, scratch_root=None) as arena:
        baselines = Baselines(arena)
        with meanwhile("playing it undisturbed, to count what it kills at"):
            plan = with_points(arena, plan)
        played = None if directory is None else _kept(directory, plan, plan_file)
        for number in range(times):
            place = None if keep is None else keep / f"trial-{number}"
            with meanwhile(f"playing {number + 1} of {times}{_left(trials, times)}"):
                trial = run_trial(arena, plan, baselines=baselines, keep=place)
            trials.append(trial)
            show(trial, number, times)
            if played is not None:
                played.keep(trial)
        if directory is not None and played is not None:
            result = played.result(tuple(arena.leaks()))
            write_page(result, directory.path)
            write_summary(result, directory.path)
            click.echo(f"the picture: {shown_path(directory.path / NAME)}")
    return int(exit_code(trials))


def _kept(directory: RunDirectory, plan: Plan, plan_file: Path) -> Played:
    arm = f", as arm {plan.arm}" if plan.arm else ""
    return Played(
        directory,
        plan,
        name=plan_file.stem,
        sentence=f"The plan {plan_file.name}, played alone{arm}.",
    )


def show(trial: Trial, number: int, times: int) -> None:
    """Print what one trial found."""
    plan: Plan = trial.plan
    said = trial.signature or "held"
    click.echo(
        f"{plan.name or 'unnamed plan'} on {plan.release}, {plan.arm or 'no arm'}, "
        f"seed {plan.seed}, {number + 1}/{times}: {said} in {trial.seconds:.1f} s"
    )
    if trial.lab_error:
        click.echo(f"  the lab itself: {trial.lab_error}")
    for goal, reached in trial.outcome.goals.items():
        click.echo(f"  {'reached' if reached else 'NOT reached'}: {goal}")
    for violation in trial.violations:
        click.echo(f"  {violation.check} [{violation.signature}]: {violation.sentence}")


def _left(trials: Sequence[Trial], times: int) -> str:
    if not trials:
        return ""
    left_s = sum(trial.seconds for trial in trials) / len(trials) * (times - len(trials))
    return f" (about {duration(left_s)} left)"


def exit_code(trials: Sequence[Trial]) -> ExitCode:
    """Return what these trials amount to where every one of them is expected to hold."""
    if any(trial.lab_error for trial in trials):
        return max(trial.lab_code for trial in trials)
    if any(trial.violations for trial in trials):
        return ExitCode.VIOLATED
    return ExitCode.PROMISED if all(trial.reached for trial in trials) else ExitCode.VACUOUS
