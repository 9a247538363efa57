"""`palace-lab sweep`: kill at k = 1, 2, … until no call is left to kill at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import click
import msgspec

from palace_lab.catalog import find_scenarios, select
from palace_lab.commands.patience import meanwhile
from palace_lab.commands.prepare import provide, resolve_all, why_no_tracing
from palace_lab.errors import ExitCode, LabError, RefusedError, UsageError
from palace_lab.plan import steps
from palace_lab.plan.model import Plan
from palace_lab.runner.arena import Arena
from palace_lab.runner.baseline import Baselines
from palace_lab.runner.outcome import killed_at
from palace_lab.runner.trial import Trial, run_trial
from palace_lab.scenario import RELEASES, Arm, Scenario, Size


@click.command("sweep")
@click.argument("name", metavar="SCENARIO")
@click.option("--release", default=RELEASES[-1], show_default=True)
@click.option("--arm", "role", default="fixed", show_default=True, help="off, as-reported, fixed.")
@click.option("--syscall", default="", help="Instead of the scenario's own.")
@click.option("--pattern", default="", help="Instead of the scenario's own.")
@click.option("--step", "stride", type=click.IntRange(1), default=1, help="Every step-th k only.")
def sweep_command(
    name: str, release: str, role: str, syscall: str, pattern: str, stride: int
) -> int:
    """Run a scenario's plan with its first crash point at every k in turn.

    Prints one line for each k, then how often each outcome came. Exits with 1 if the fixed arm was
    violated anywhere, with 6 if there was no call to kill at. Trouble of the lab itself ends it.
    """
    (listed,) = select(find_scenarios(), [name])[:1]
    (resolved,) = resolve_all([release])
    arm = _arm(listed.scenario, role)
    base = listed.scenario.plan_for(arm, resolved, 1, Size(), listed.name)
    number = next((i for i, step in enumerate(base.steps) if isinstance(step, steps.Crash)), None)
    if number is None:
        raise UsageError(f"the plan of {listed.name} has no crash point to sweep")
    _at(base, number, 1, syscall, pattern)  # a call or file that there is not is said at once
    environments, refused = provide(
        sorted(base.releases()), lambda text: click.echo(text, err=True)
    )
    if reason := next(iter(refused.values()), why_no_tracing()):
        raise RefusedError(reason)
    with Arena(environments, scratch_root=None) as arena:
        baselines = Baselines(arena)

        def play(k: int) -> Trial:
            with meanwhile(f"killing at k={k}"):
                return run_trial(arena, _at(base, number, k, syscall, pattern), baselines=baselines)

        return int(_sweep(play, number, stride, must_hold=role == "fixed"))


def _sweep(play: Callable[[int], Trial], number: int, stride: int, *, must_hold: bool) -> ExitCode:
    """Play trials at every k until nobody is killed any more, and say what came of them."""
    outcomes: Counter[str] = Counter()
    k = last = 0
    while last == k:
        k = k + stride if k else 1
        trial = play(k)
        if trial.outcome.goals.get(killed_at(_crash(trial.plan, number)), False):
            last = k
        elif not trial.lab_error and not (must_hold and trial.violations):
            break
        word = trial.signature or "held"
        outcomes[word] += 1
        first = trial.violations[0].sentence[:120] if trial.violations else trial.lab_error
        click.echo(f"k={k}: {word} in {trial.seconds:.1f} s  {first}")
        if trial.lab_error:
            click.echo(f"stopped at k={k} by trouble of the lab itself", err=True)
            violated = must_hold and set(outcomes) - {"held", word}
            return ExitCode.VIOLATED if violated else trial.lab_code or ExitCode.UNKNOWN
    counted = ", ".join(f"{n} {word}" for word, n in outcomes.items())
    click.echo(f"no point left after k={last}: {counted or 'nobody was killed'}")
    if not outcomes:
        return ExitCode.VACUOUS
    return ExitCode.VIOLATED if must_hold and set(outcomes) != {"held"} else ExitCode.PROMISED


def _arm(scenario: Scenario, role: str) -> Arm:
    for arm in scenario.arms():
        if arm.role == role:
            return arm
    known = ", ".join(arm.role for arm in scenario.arms())
    raise UsageError(f"this scenario has no arm {role!r}; it has: {known}")


def _crash(plan: Plan, number: int) -> steps.Crash:
    step = plan.steps[number]
    if not isinstance(step, steps.Crash):
        raise LabError(f"step {number} of the plan is no crash point but {type(step).__name__}")
    return step


def _at(plan: Plan, number: int, k: int, syscall: str, pattern: str) -> Plan:
    """Return the plan with its crash point number `number` at k, and no other crash point."""
    crash = _crash(plan, number)
    try:
        moved = msgspec.structs.replace(
            crash, k=k, at=None, syscall=syscall or crash.syscall, pattern=pattern or crash.pattern
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    kept = [
        moved if place == number else step
        for place, step in enumerate(plan.steps)
        if place == number or not isinstance(step, steps.Crash)
    ]
    return plan.changed(steps=tuple(kept))
