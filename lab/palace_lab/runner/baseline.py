"""A healthy palace of a plan's size, measured in the same run: what "slow" and "large" mean.

Measured once for each release, size and shape, with the same observers, and shared by all trials.
"""

from __future__ import annotations

import shutil
import threading
from collections import defaultdict

from palace_lab.checks.evidence import Baseline
from palace_lab.checks.expected import expect
from palace_lab.errors import LabError, UsageError
from palace_lab.history.merge import calls, merge
from palace_lab.plan import steps
from palace_lab.plan.model import Plan, Shape
from palace_lab.runner.arena import Arena
from palace_lab.runner.deadline import Deadline
from palace_lab.runner.observe import observe, survey
from palace_lab.runner.stage import Stage

_OBSERVERS = ("palace", "chroma")
_Key = tuple[str, int, Shape]


class Baselines:
    """Measures a baseline when it is first asked for. Thread-safe."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._locks: dict[_Key, threading.Lock] = defaultdict(threading.Lock)
        self._found: dict[_Key, Baseline] = {}
        self._lock = threading.Lock()

    def of(self, plan: Plan) -> Baseline | None:
        """Return the baseline for a plan; None if it writes no drawers."""
        drawers = drawers_of(plan)
        if drawers == 0:
            return None
        key = (plan.release, drawers, plan.shape)
        with self._lock:
            lock = self._locks[key]
        with lock:
            if key not in self._found:
                self._found[key] = self._measure(plan.release, drawers, plan.shape)
            return self._found[key]

    def again(self, plan: Plan) -> Baseline | None:
        """Measure the baseline of a plan anew, as the machine is now; `of` keeps what it has."""
        drawers = drawers_of(plan)
        return self._measure(plan.release, drawers, plan.shape) if drawers else None

    def _measure(self, release: str, drawers: int, shape: Shape) -> Baseline:
        plan = Plan(
            name="baseline",
            release=release,
            target="chroma",
            shape=shape,
            steps=(steps.write("writer", drawers),),
        )
        directory = self._arena.trial_directory()
        try:
            Stage(
                self._arena, plan, directory, deadline=Deadline.of_healthy(), recording=False
            ).play()
            expected = expect(calls(merge(directory / "history")))
            seconds = {}
            for number, observer in enumerate(_OBSERVERS):
                seen = observe(
                    self._arena,
                    plan,
                    directory,
                    observer,
                    expected,
                    deadline=Deadline.of_healthy(),
                    round_=number,
                )
                if any(look.phase != "ok" for look in seen.looks):
                    said = seen.looks[-1].error
                    raise LabError(f"a healthy palace on {release} could not be read: {said}")
                seconds[observer] = sum(look.seconds for look in seen.looks)
            weight = survey(self._arena, plan, directory, "baseline", Deadline.of_healthy())
            return Baseline(seconds, int(weight["allocated_bytes"]))
        finally:
            shutil.rmtree(directory)


def drawers_of(plan: Plan) -> int:
    """Return how many drawers the steps of a plan write at most; one written again counts once."""
    total = 0
    numbers: set[int] = set()
    for step in plan.steps:
        if isinstance(step, steps.Alternate):
            total += len(step.processes) * step.rounds * step.batch
        for call in step.calls if isinstance(step, steps.Together) else (step,):
            if not isinstance(call, steps.Do | steps.Begin):
                continue
            if call.op == "write":
                first = _number(call, "first")
                numbers.update(range(first, first + _number(call, "count")))
            elif call.op == "work":
                total += _number(call, "count" if "count" in call.args else "drawers")
    return total + len(numbers)


def _number(call: steps.Do | steps.Begin, name: str) -> int:
    value = call.args.get(name, 0)
    if type(value) is not int or value < 0:
        raise UsageError(
            f"process {call.process} of the plan: {name} of operation {call.op!r} is "
            f"{value!r:.60}: give a whole number"
        )
    return value
