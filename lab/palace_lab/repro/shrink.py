"""Making a plan that fails smaller, so that what is left is what it takes.

Rules: the caller says what counts as the same failure; every candidate is a plan that could have
been written by hand; the number of plays is bounded, and the smallest plan so far is the answer.
Steps are left out in halves, quarters, … and one by one, then writes are made shorter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from palace_lab.plan import steps
from palace_lab.plan.mistakes import mistakes
from palace_lab.plan.model import Plan


def shrink(plan: Plan, fails: Callable[[Plan], bool], *, plays_max: int = 100) -> Plan:
    """Return the smallest plan found for which `fails` is true; it is true for `plan` itself."""
    left = plays_max

    def still_fails(candidate: Plan) -> bool:
        nonlocal left
        left -= 1
        return left >= 0 and fails(candidate)

    return _shorten(_leave_out(plan, still_fails), still_fails)


def _leave_out(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    best, size = plan, len(plan.steps) // 2
    while size:
        before = len(best.steps)
        # From the end: what comes after the harm was done is rarely needed.
        for end in range(before, 0, -size):
            kept = best.steps[: max(0, end - size)] + best.steps[end:]
            candidate = _sensible(_with_steps(best, kept))
            shorter = candidate is not None and len(candidate.steps) < len(best.steps)
            if candidate is not None and shorter and fails(candidate):
                best = candidate
        if size > 1 or len(best.steps) == before:
            size //= 2
    return best


def _shorten(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    best = plan
    for number in range(len(best.steps)):
        for less in _shorter(best.steps[number]):
            changed = (*best.steps[:number], less, *best.steps[number + 1 :])
            if fails(candidate := _with_steps(best, changed)):
                best = candidate
                break
    return best


def _shorter(step: steps.Step) -> Iterator[steps.AnyStep]:
    if isinstance(step, steps.Do | steps.Begin) and step.args.get("count", 0) > 1:
        count = int(step.args["count"])
        for less in sorted({1, count // 2, count - 1}):
            yield msgspec.structs.replace(step, args={**step.args, "count": less})


def _sensible(plan: Plan) -> Plan | None:
    """Return the plan without the steps that make no sense in it, None if it makes none at all.

    Of two steps that need each other the other one goes as well.
    """
    while found := list(mistakes(plan)):
        wrong = {each.step for each in found}
        if None in wrong:
            return None
        kept = tuple(step for number, step in enumerate(plan.steps) if number not in wrong)
        plan = _with_steps(plan, kept)
    return plan


def _with_steps(plan: Plan, kept: tuple[steps.AnyStep, ...]) -> Plan:
    smaller = plan.changed(steps=kept)
    named = set(smaller.process_names())
    return smaller.changed(processes=tuple(each for each in plan.processes if each.name in named))
