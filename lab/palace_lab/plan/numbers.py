"""Numbers of a plan that nobody could mean: negative, without end, or not a number at all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from palace_lab.plan import steps
from palace_lab.plan.mistake import Mistake, of_step
from palace_lab.plan.model import DRAWERS_END, Plan
from palace_lab.processes.points import CrashPoint
from palace_store.errors import PalaceInputError
from palace_store.validation import check_settings

_DIMENSIONS_MAX = 65_536
_DRAWERS_MAX = 2**31 - 1
_TIME_SCALE_MAX = 1000.0
#: Of one step, after the plan's `time_scale`.
_SECONDS_MAX = 24 * 3600.0
#: Some 30 years: what was set back by that still has a time that every file system can hold.
_BACKDATE_MAX = 1e9
#: What a history has room for.
_WHOLE_MAX = 2**62
#: Arguments that count something, with the least each may be.
_COUNTED: dict[str, int] = {
    "first": 0,
    "count": 0,
    "batch": 1,
    "drawers": 0,
    "triples": 0,
    "facts": 0,
    "threads": 1,
    "rounds": 0,
    "revision": 0,
}
_MANY = ("count", "drawers")


def mistakes_of_numbers(plan: Plan) -> Iterator[Mistake]:
    """Yield the numbers of a plan that make no sense."""
    if not 0 < plan.time_scale <= _TIME_SCALE_MAX:
        yield Mistake(
            f"$.time_scale is {plan.time_scale:g}; write a number above 0, up to "
            f"{_TIME_SCALE_MAX:g}"
        )
    yield from _of_shape(plan)
    for number, step in enumerate(plan.steps):
        at = of_step(number, step)
        for call in step.calls if isinstance(step, steps.Together) else (step,):
            if isinstance(call, steps.Do | steps.Begin):
                yield from (Mistake(f"{at}: {said}", number) for said in _of_arguments(call))
        yield from (Mistake(f"{at}: {said}", number) for said in _of_step(step, plan.time_scale))


def _of_shape(plan: Plan) -> Iterator[Mistake]:
    shape = plan.shape
    if not 1 <= shape.dimension <= _DIMENSIONS_MAX:
        yield Mistake(
            f"$.shape.dimension is {shape.dimension}; write a number from 1 to {_DIMENSIONS_MAX}"
        )
    try:
        check_settings(shape.space, shape.sync_threshold, shape.batch_size)
    except PalaceInputError as error:
        yield Mistake(f"$.shape: {error}")
    for name in ("sync_threshold", "batch_size"):
        if (value := getattr(shape, name)) > _DRAWERS_MAX:
            yield Mistake(f"$.shape.{name} is {value}; write a number up to {_DRAWERS_MAX}")


def _of_step(step: steps.AnyStep, time_scale: float) -> Iterator[str]:
    if isinstance(step, steps.Alternate):
        beyond = step.first + len(step.processes) * step.rounds * step.batch
        if beyond > DRAWERS_END:
            yield _too_far(beyond)
    if isinstance(step, steps.Backdate) and not abs(step.seconds) <= _BACKDATE_MAX:
        yield f"seconds is {step.seconds:g}; write a number up to {_BACKDATE_MAX:g}"
    if isinstance(step, steps.Elapse | steps.Slow):
        lasts = step.seconds * time_scale
        if time_scale > 0 and not lasts <= _SECONDS_MAX:
            yield (
                f"seconds is {step.seconds:g}, which is {lasts:g} by the time_scale; write what "
                f"comes to {_SECONDS_MAX:g} at most"
            )
        if isinstance(step, steps.Slow) and step.seconds == 0:
            yield "seconds is 0, which slows nothing down; write a number above 0"
    if isinstance(step, steps.Fail):
        try:
            CrashPoint(step.syscall, step.pattern, step.k, "fail", errno=step.errno)
        except ValueError as error:
            yield str(error)


def _of_arguments(call: steps.Do | steps.Begin) -> Iterator[str]:
    asked = f"of operation {call.op!a:.80} is"
    for name, value in call.args.items():
        least = _COUNTED.get(name)
        if least is not None:
            if type(value) is not int or not least <= value < DRAWERS_END:
                yield (
                    f"{name} {asked} {value!a:.60}: give a whole number from {least} to "
                    f"{DRAWERS_END - 1}"
                )
        elif name.endswith("_s"):
            if type(value) in (int, float) and not 0 <= value <= _SECONDS_MAX:
                yield (f"{name} {asked} {value!a:.60}: give seconds, from 0 to {_SECONDS_MAX:g}")
        elif any(abs(whole) > _WHOLE_MAX for whole in _wholes(value)):
            yield f"{name!a:.80} {asked} {value!a:.60}: give whole numbers up to 2**62"
    first, last = call.args.get("first", 0), [call.args.get(name, 0) for name in _MANY]
    whole = all(type(each) is int for each in (first, *last))
    if whole and first < DRAWERS_END < (beyond := first + max(last)):
        yield _too_far(beyond)


def _wholes(value: Any) -> Iterator[int]:
    """Yield every whole number in plain data; a float without end counts as one beyond all."""
    if isinstance(value, int):
        yield value
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield _WHOLE_MAX + 1
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _wholes(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _wholes(each)


def _too_far(beyond: int) -> str:
    return (
        f"its numbers go up to {beyond - 1}, but those from {DRAWERS_END} on are written by "
        "observers; begin lower, or write fewer"
    )
