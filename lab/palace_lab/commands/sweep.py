"""`palace-lab sweep`: kill at k = 1, 2, … until no call is left to kill at."""

from __future__ import annotations

from collections import Counter

import click
import msgspec

from palace_lab.catalog import find_scenarios, select
from palace_lab.commands.prepare import provide, resolve_all, why_no_tracing
from palace_lab.errors import ExitCode, RefusedError, UsageError
from palace_lab.plan import steps
from palace_lab.plan.model import Plan
from palace_lab.runner.arena import Arena
from palace_lab.runner.baseline import Baselines
from palace_lab.runner.trial import run_trial
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
    violated anywhere.
    """
    (listed,) = select(find_scenarios(), [name])[:1]
    (resolved,) = resolve_all([release])
    arm = _arm(listed.scenario, role)
    base = listed.scenario.plan_for(arm, resolved, 1, Size(), listed.name)
    number = next((i for i, step in enumerate(base.steps) if isinstance(step, steps.Crash)), None)
    if number is None:
        raise UsageError(f"the plan of {listed.name} has no crash point to sweep")
    environments, refused = provide(
        sorted(base.releases()), lambda text: click.echo(text, err=True)
    )
    if reason := next(iter(refused.values()), why_no_tracing()):
        raise RefusedError(reason)
    outcomes: Counter[str] = Counter()
    with Arena(environments, scratch_root=None) as arena:
        baselines = Baselines(arena)
        k = 1
        while True:
            trial = run_trial(arena, _at(base, number, k, syscall, pattern), baselines=baselines)
            if not trial.reached and not trial.lab_error:
                break
            outcomes[trial.signature or "held"] += 1
            first = trial.violations[0].sentence[:120] if trial.violations else trial.lab_error
            click.echo(f"k={k}: {trial.signature or 'held'} in {trial.seconds:.1f} s  {first}")
            k += stride
    last = k - 1 if stride == 1 else k - stride
    click.echo(
        f"no point left after k={last}: " + ", ".join(f"{n} {w}" for w, n in outcomes.items())
    )
    bad = role == "fixed" and any(word != "held" for word in outcomes)
    if not outcomes:
        return int(ExitCode.VACUOUS)
    return int(ExitCode.VIOLATED if bad else ExitCode.PROMISED)


def _arm(scenario: Scenario, role: str) -> Arm:
    for arm in scenario.arms():
        if arm.role == role:
            return arm
    known = ", ".join(arm.role for arm in scenario.arms())
    raise UsageError(f"this scenario has no arm {role!r}; it has: {known}")


def _at(plan: Plan, number: int, k: int, syscall: str, pattern: str) -> Plan:
    """Return the plan with its crash point number `number` at k, and no other crash point."""
    changed: list[steps.AnyStep] = []
    for place, step in enumerate(plan.steps):
        if isinstance(step, steps.Crash):
            if place != number:
                continue
            changed.append(
                msgspec.structs.replace(
                    step,
                    k=k,
                    at=None,
                    syscall=syscall or step.syscall,
                    pattern=pattern or step.pattern,
                )
            )
        else:
            changed.append(step)
    return plan.changed(steps=tuple(changed))
