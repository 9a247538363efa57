"""The steps of one trial's plan, each done to its processes (`cast`), one after the other."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from functools import singledispatchmethod
from pathlib import Path

from palace_lab.checks.evidence import Baseline
from palace_lab.errors import LabError
from palace_lab.history.merge import calls, merge
from palace_lab.history.segment import Event
from palace_lab.plan import steps
from palace_lab.plan.model import Plan
from palace_lab.processes.exits import Limits
from palace_lab.processes.points import Action, CrashPoint, Hit
from palace_lab.processes.supervise import wait_any
from palace_lab.runner.arena import Arena
from palace_lab.runner.cast import Cast
from palace_lab.runner.deadline import Deadline
from palace_lab.runner.observe import look_midway
from palace_lab.runner.outcome import Outcome, killed_at
from palace_lab.runner.troubles import Trouble, goal_of, points_of

_SIGNALS = {steps.Stop: ("stop", signal.SIGSTOP), steps.Continue: ("continue", signal.SIGCONT)}


class Stage:
    """Runs the steps of one plan in one directory."""

    def __init__(
        self,
        arena: Arena,
        plan: Plan,
        directory: Path,
        *,
        deadline: Deadline,
        recording: bool,
        limits: Limits | None = None,
        baseline: Baseline | None = None,
        earlier: Sequence[Event] = (),
    ) -> None:
        self.cast = Cast(arena, plan, directory, deadline=deadline, limits=limits)
        self._arena = arena
        self._baseline = baseline
        self._earlier = earlier
        self._directory = directory
        self._plan = plan
        self._deadline = deadline
        self._recording = recording
        self._doomed: dict[str, tuple[int, steps.Crash]] = {}
        self._held: dict[str, Hit] = {}
        self._troubled: dict[str, Trouble] = {}
        self._terminated: list[str] = []
        self._step_number = 0

    def play(self) -> Outcome:
        """Do every step, end every process, and return what came of it."""
        try:
            for number, step in enumerate(self._plan.steps):
                self._step_number = number
                self._perform(step)
            for name in list(self.cast.workers):
                self._end(name)
            for name in self._terminated:
                ended = self.cast.outcome.exits[name]
                self.cast.outcome.goals[f"{name} ended by SIGTERM"] = ended.signal == signal.SIGTERM
        finally:
            self.cast.close()
        return self.cast.outcome

    @singledispatchmethod
    def _perform(self, step: steps.Step) -> None:
        raise LabError(f"the runner does not know the step {type(step).__name__}")

    @_perform.register
    def _(self, step: steps.Do) -> None:
        self.cast.tell(step.process, step.op, step.args)
        self.cast.answer(step.process)

    @_perform.register
    def _(self, step: steps.Begin) -> None:
        self.cast.begin(step.process, step.op, step.args)

    @_perform.register
    def _(self, step: steps.Finish) -> None:
        self.cast.finish(step.process)

    @_perform.register
    def _(self, step: steps.Paused) -> None:
        message = self.cast.receive(step.process)
        while message is not None and message.get("paused", step.where) != step.where:
            self.cast.workers[step.process].send({"go": True})  # not the place that is waited for
            message = self.cast.receive(step.process)
        paused = message is not None and message.get("paused") == step.where
        # One that failed there met what was in its way, only harder; one that succeeded did not.
        reached = paused or message is None or message.get("done") != "ok"
        self.cast.outcome.goals[f"{step.process} came to {step.where}"] = reached
        if message is not None and not paused:
            self.cast.settle(step.process, message)

    @_perform.register
    def _(self, step: steps.Go) -> None:
        if step.process in self.cast.pending:
            self.cast.workers[step.process].send({"go": True})

    @_perform.register
    def _(self, step: steps.Together) -> None:
        for call in step.calls:
            self.cast.open(call.process, call.op)
        for call in step.calls:
            self.cast.tell(call.process, call.op, call.args)
        for call in step.calls:
            self.cast.answer(call.process)

    @_perform.register
    def _(self, step: steps.Alternate) -> None:
        for turn, process in enumerate(step.processes * step.rounds):
            begin = step.first + turn * step.batch
            self._perform(steps.write(process, step.batch, first=begin, batch=step.batch))

    @_perform.register
    def _(self, step: steps.Crash) -> None:
        if step.k is None and not self._recording:
            raise LabError(f"the crash point {step.syscall} {step.pattern} was never recorded")
        if step.process in self._doomed:
            raise LabError(f"{step.process} has two crash points; give it one")
        self._doomed[step.process] = (self._step_number, step)
        action: Action = "record" if self._recording else "die"
        point = CrashPoint(step.syscall, step.pattern, k=step.k or 1, action=action)
        if not self.cast.arm(step.process, point) and not self._recording:
            self.cast.outcome.goals[killed_at(step)] = False

    @_perform.register
    def _(self, step: steps.Hold) -> None:
        hold_s = 2 * self._deadline.seconds
        point = CrashPoint(step.syscall, step.pattern, step.k, "wait", hold_s=hold_s)
        self.cast.arm(step.process, point)

    @_perform.register(steps.Fail)
    @_perform.register(steps.Slow)
    def _(self, step: Trouble) -> None:
        if self._troubled.setdefault(step.process, step) is not step:
            raise LabError(f"{step.process} has two steps that trouble its calls; give it one")
        if not self._recording:
            for point in points_of(step, self._plan.time_scale):
                self.cast.arm(step.process, point)

    @_perform.register
    def _(self, step: steps.Held) -> None:
        worker = self.cast.workers[step.process]
        wait_any([worker], self._deadline.seconds, hits=True)
        hit = worker.hit(self._deadline.seconds) if worker.has_hit else None
        held = hit is not None and hit.action == "wait"  # not the call it died at
        self.cast.outcome.goals[f"{step.process} held"] = held
        if hit is not None and held:
            self._held[step.process] = hit
            self.cast.fault("hold", f"{step.process} at {hit.syscall} {hit.path}")

    @_perform.register
    def _(self, step: steps.Release) -> None:
        if step.process not in self._held:
            self._perform(steps.Held(step.process))
        if (hit := self._held.pop(step.process, None)) is not None:
            self.cast.fault("release", f"{step.process} at {hit.syscall} {hit.path}")
            self.cast.workers[step.process].resume(hit)

    @_perform.register
    def _(self, step: steps.Kill) -> None:
        self.cast.fault("kill", step.process)
        self.cast.kill(step.process)

    @_perform.register
    def _(self, step: steps.Terminate) -> None:
        self.cast.fault("terminate", step.process)
        self.cast.worker(step.process).signal(signal.SIGTERM)
        self._terminated.append(step.process)
        if step.process not in self.cast.pending:
            self.cast.expect_end(step.process)

    @_perform.register(steps.Stop)
    @_perform.register(steps.Continue)
    def _(self, step: steps.Stop | steps.Continue) -> None:
        word, number = _SIGNALS[type(step)]
        self.cast.fault(word, step.process)
        self.cast.worker(step.process).signal(number)

    @_perform.register
    def _(self, step: steps.Close) -> None:
        self._end(step.process)

    @_perform.register
    def _(self, step: steps.Check) -> None:
        if self._recording:
            return
        if living := [name for name in self.cast.workers if name not in self.cast.outcome.exits]:
            raise LabError(
                f"step {self._step_number} checks the palace while {', '.join(living)} may still "
                "write to it; close these processes before"
            )
        checked = look_midway(
            self._arena,
            self._plan.changed(
                release=step.release or self._plan.release,
                observers=step.observers or self._plan.observers,
            ),
            self._directory,
            self._step_number,
            tuple(calls([*self._earlier, *merge(self._directory / "history")])),
            self.cast.outcome,
            deadline=self._deadline,
            baseline=self._baseline,
        )
        self.cast.outcome.checked.append(checked)

    @_perform.register
    def _(self, step: steps.Elapse) -> None:
        self.cast.fault("elapse", f"{step.seconds} s, scaled by {self._plan.time_scale}")
        time.sleep(step.seconds * self._plan.time_scale)

    @_perform.register
    def _(self, step: steps.Backdate) -> None:
        self.cast.backdate(step)

    @_perform.register
    def _(self, step: steps.Upgrade) -> None:
        self.cast.outcome.goals[self.cast.servers.upgrade(step, self.cast.fault)] = True

    def _end(self, name: str) -> None:
        """End a process in good order, and take note of whether it came to its crash point."""
        self.cast.end(name)
        worker = self.cast.workers[name]
        if (step := self._troubled.get(name)) is not None and not self._recording:
            self.cast.outcome.goals[goal_of(step)] = len(worker.recorded()) >= step.k
        if name in self._doomed:
            number, crash = self._doomed[name]
            if self._recording:
                self.cast.outcome.recorded.setdefault(number, len(worker.recorded()))
            else:
                self.cast.outcome.goals[killed_at(crash)] = worker.died_at is not None
                self.cast.outcome.recorded[number] = crash.k or 0
