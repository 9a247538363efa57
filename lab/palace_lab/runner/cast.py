"""The processes of one trial: launched when first named, told what to do, heard, buried.

Rules:
- The death of a process is data: the plan goes on, and steps for a dead process are noted as not
  done.
- Every wait has the plan's deadline; a process that does not answer is a hang: its stack is kept,
  it is killed, and the plan goes on.
- What the lab does to a process is written to the history as a *fault* before it is done.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from palace_lab.errors import DeadlineError, UsageError, WorkerDiedError
from palace_lab.history.segment import DIED, Recorder, read_segment
from palace_lab.plan import steps
from palace_lab.plan.model import Plan
from palace_lab.processes.exits import Limits
from palace_lab.processes.points import CrashPoint
from palace_lab.processes.supervise import Worker
from palace_lab.runner.arena import Arena
from palace_lab.runner.deadline import Deadline
from palace_lab.runner.launch import launch
from palace_lab.runner.outcome import Answer, Hang, Outcome, backdated
from palace_lab.runner.servers import Servers

#: First words of operations before which a process does not open its palace, as a server does.
_OPENS_NOTHING = frozenset({"open", "hold", "intrude", "pin", "make", "measure"})


class Cast:
    """The processes of one plan in one directory, by name."""

    def __init__(
        self,
        arena: Arena,
        plan: Plan,
        directory: Path,
        *,
        deadline: Deadline,
        limits: Limits | None = None,
    ) -> None:
        self.workers: dict[str, Worker] = {}
        self.pending: dict[str, str] = {}  # process: the operation it was told to begin
        self.outcome = Outcome()
        self.servers = Servers(arena, plan, directory)
        self._arena = arena
        self._plan = plan
        self._directory = directory
        self._deadline = deadline
        self._limits = limits
        self._opened: set[str] = set()
        self._begun: set[str] = set()  # and not finished yet
        for name in ("palace", "history", "logs"):
            (directory / name).mkdir(exist_ok=True)  # a palace may have been given
        self._nemesis = Recorder(directory / "history" / "nemesis.hist", "nemesis")

    def close(self) -> None:
        """Let every process go, whatever it does, and end the record of the faults."""
        for worker in self.workers.values():
            worker.close()
        self._nemesis.close()

    def fault(self, what: str, text: str) -> None:
        """Record one thing the lab does, before it is done."""
        self._nemesis.write("fault", what, text=text)

    def backdate(self, step: steps.Backdate) -> None:
        """Set the times of matching files back, as if they had been written earlier.

        What a link or a `..` leads to outside of the palace is left alone.
        """
        palace = self._directory / "palace"
        inside = palace.resolve()
        found = sorted(palace.glob(step.pattern))
        paths = [path for path in found if path.resolve().is_relative_to(inside)]
        for path in paths:
            status = path.stat()
            self.fault("backdate", f"{path.relative_to(palace)} by {step.seconds} s")
            os.utime(path, (status.st_atime - step.seconds, status.st_mtime - step.seconds))
        self.outcome.goals[backdated(step)] = bool(paths)

    def worker(self, name: str) -> Worker:
        """Return a process of the plan, launched but not yet opened if it is new."""
        if name in self.workers:
            return self.workers[name]
        traced = [step for step in self._plan.steps if isinstance(step, steps.TRACED)]
        families = {step.syscall for step in traced if step.process == name}
        process = self._plan.process(name)
        self.workers[name] = launch(
            self._arena,
            self._plan,
            self._directory,
            name,
            target=self._plan.target_of(name),
            release=process.release or self._plan.release,
            fixes=self._plan.fixes if process.fixes is None else process.fixes,
            options=self.servers.options(name),
            traceable=tuple(sorted(families)),
            limits=self._limits,
        )
        return self.workers[name]

    def open(self, name: str, op: str) -> None:
        """Let a process open its palace if it has not, unless it is to do so itself."""
        self.worker(name)
        if op.partition("_")[0] not in _OPENS_NOTHING and name not in self._opened:
            self._opened.add(name)
            self._send(name, "open", {})
            self.answer(name)
        self._opened.add(name)

    def arm(self, name: str, point: CrashPoint) -> bool:
        """Arm a crash point, counted from now; False if the process is dead already."""
        worker = self.worker(name)
        self.fault(f"arm {point.action}", f"{name} {point.syscall} {point.pattern} k={point.k}")
        try:
            worker.arm([point])
        except WorkerDiedError:
            self.bury(name)
            self.fault("not done", f"{name} arm {point.action}: it is dead")
            return False
        return True

    def tell(self, name: str, op: str, args: Mapping[str, Any]) -> None:
        """Tell a process to do one operation, and go on at once."""
        self.open(name, op)
        self._send(name, op, args)

    def _send(self, name: str, op: str, args: Mapping[str, Any]) -> None:
        if name in self.outcome.exits:
            self.fault("not done", f"{name} {op}: it is dead")
            return
        self.pending[name] = op
        try:
            self.workers[name].send({"do": op, "args": dict(args)})
        except WorkerDiedError:  # it died after its last answer
            self.bury(name)

    def begin(self, name: str, op: str, args: Mapping[str, Any]) -> None:
        """Tell a process to do one operation that the plan may finish later."""
        self.tell(name, op, args)
        self._begun.add(name)

    def finish(self, name: str) -> None:
        """Wait for the answer to what was begun."""
        self._begun.discard(name)
        self.answer(name)

    def answer(self, name: str) -> None:
        """Wait until a process has answered, died or been found to hang; it pauses nowhere."""
        while name in self.pending:
            message = self.receive(name)
            if message is None:
                return
            if "paused" in message:
                self.workers[name].send({"go": True})
                continue
            self.settle(name, message)

    def settle(self, name: str, message: Answer) -> None:
        """Keep an answer: its operation is over. `UsageError` if it is none a plan can ask for."""
        if message["done"] == "senseless":
            raise UsageError(f"process {name} of the plan: {message['error']}")
        self.outcome.answers.append((name, self.pending.pop(name), message))

    def receive(self, name: str) -> Answer | None:
        """Return the next message of a process, or None if it has died or hangs."""
        if name not in self.pending:
            return None
        worker = self.workers[name]
        return self._bounded(
            name, lambda: self._deadline.receive(worker, lambda: self._sign_s(name))
        )

    def _sign_s(self, name: str) -> float:
        """Return when a process last recorded something, on the monotonic clock; 0 if never."""
        path = self._directory / "history" / f"{name}.hist"
        events = list(read_segment(path)) if path.exists() else []
        return events[-1].time_ns / 1e9 if events else 0.0

    def _bounded(self, name: str, wait: Callable[[], Answer]) -> Answer | None:
        began = time.monotonic()
        try:
            return wait()
        except WorkerDiedError:
            self.bury(name)
        except DeadlineError as error:
            op = self.pending.get(name, "")
            waited_s = round(time.monotonic() - began, 3)
            self.outcome.hangs.append(Hang(name, op, waited_s, str(error)))
            self.fault("kill after a hang", f"{name} {op}")
            self.workers[name].kill()
            self.bury(name)
        return None

    def bury(self, name: str) -> None:
        """Take note of a death."""
        if name in self.outcome.exits:
            return
        ended = self.workers[name].wait_exit(self._deadline.seconds)
        self.outcome.exits[name] = ended
        self.outcome.died_ns[name] = time.monotonic_ns()
        self.pending.pop(name, None)
        self.fault(DIED, f"{name} {ended.describe()}")

    def kill(self, name: str) -> None:
        """Kill a process; that it was in a call is a goal if one was begun and not finished."""
        self.worker(name).kill()
        if name in self._begun:
            self.outcome.goals[f"{name} killed in mid-call"] = self._died_in_call(name)
        self.bury(name)

    def _died_in_call(self, name: str) -> bool:
        """Tell whether a process that was just killed died of that before it could answer."""
        if name not in self.pending:  # it had answered, or was dead before
            return False
        while (message := self.receive(name)) is not None:
            if "paused" not in message:
                self.settle(name, message)
                return False
        return self.outcome.exits[name].killed_by_lab

    def expect_end(self, name: str) -> None:
        """Wait until an idle process that was told to end by a signal has ended."""
        self.pending[name] = "end by a signal"
        while self.receive(name) is not None:
            pass

    def end(self, name: str) -> None:
        """End a process in good order, if it still lives."""
        worker = self.worker(name)
        if name not in self.outcome.exits:
            self.answer(name)
        if name not in self.outcome.exits:
            self.pending[name] = "close"
            try:
                worker.send({"exit": True})
            except WorkerDiedError:
                self.bury(name)
            if self.receive(name) is not None:
                self.pending.pop(name, None)
                self.bury(name)
