"""Both connections of one worker, seen from main: what comes in, and waiting for it.

Rules: messages of the worker and of its shepherd are taken in as they come, whichever of them is
awaited, so that neither can block the other. A wait ends in an answer, in `WorkerGoneError` with
the exit, or in `DeadlineError` with the worker's stack.
"""

from __future__ import annotations

import contextlib
import os
import signal as signals
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from multiprocess.connection import wait as wait_ready

from palace_lab.errors import DeadlineError, LabError, UsageError
from palace_lab.processes.exits import Exit, Limits, Usage, WorkerGoneError
from palace_lab.processes.points import Hit
from palace_lab.processes.stacks import stack_of
from palace_lab.processes.wire import Channel, Message, remaining

#: How long a shepherd may take to answer, seconds: it only ever does short work.
ANSWER_S = 15.0
_NOT_ENDED = "did not end"

_T = TypeVar("_T")


class Line:
    """What `Worker` is made of. Not thread-safe."""

    def __init__(
        self,
        name: str,
        *,
        channel: Channel,
        watch: Channel,
        traced: frozenset[str],
        limits: Limits,
    ) -> None:
        self.name = name
        self.pid = 0
        self._channel = channel
        self._watch = watch
        self._traced = traced
        self._limits = limits
        self._pidfd = -1
        self._inbox: deque[Message] = deque()
        self._hits: deque[Hit] = deque()
        self._died_at: Hit | None = None
        self._answers: deque[Message] = deque()
        self._records: list[Hit] = []
        #: Signals main sent to the worker.
        self._sent: set[int] = set()
        self._crash: str | None = None
        self._exit: Exit | None = None
        self._left = False
        self._beyond = 0

    def sources(self) -> list[Channel]:
        """Return the open channels, for waiting on several workers."""
        return [source for source in (self._channel, self._watch) if not source.closed]

    def _await(
        self, ready: Callable[[], _T | None], timeout_s: float, lack: str, *, waited_s: float = 0.0
    ) -> _T:
        deadline = time.monotonic() + timeout_s
        while True:
            found = ready()
            if found is not None:
                return found
            if self._listen(0):
                continue
            if self._exit is not None:
                raise WorkerGoneError(self.name, self._exit)
            if self._watch.closed:
                raise LabError(
                    f"how worker {self.name!r} ended is not known: its shepherd ended first, "
                    f"because the worker was closed or its host killed (out of memory?)"
                )
            if not self._listen(remaining(deadline)):
                raise self._stuck(lack, waited_s + timeout_s)

    def _ask(self, question: Message, answer: str) -> Message:
        if not self._traced:
            raise UsageError(
                f"worker {self.name!r} is not traced; launch it with points or traceable="
            )
        try:
            self._watch.send(question)
        except OSError:
            raise WorkerGoneError(
                self.name, self._await(lambda: self._exit, ANSWER_S, _NOT_ENDED)
            ) from None
        deadline = time.monotonic() + ANSWER_S
        while not self._answers:
            if self._watch.closed:
                raise WorkerGoneError(self.name, self._await(lambda: self._exit, 0, _NOT_ENDED))
            if not self._listen(remaining(deadline)):
                raise self._stuck(f"has a shepherd that did not answer {answer!r}", ANSWER_S)
        found = self._answers.popleft()
        if answer not in found:
            raise LabError(f"the shepherd of worker {self.name!r} answered {found}, not {answer!r}")
        return found

    def _next_message(self) -> Message | None:
        return self._inbox.popleft() if self._inbox else None

    def _next_hit(self) -> Hit | None:
        return self._hits.popleft() if self._hits else None

    def _listen(self, timeout_s: float) -> bool:
        """Take in one message of worker or shepherd; False if none came in time."""
        sources = self.sources()
        ready = wait_ready(sources, timeout_s) if sources else []
        for source in ready:
            try:
                message = source.receive()
            except BlockingIOError:
                raise self._stuck("stopped in the middle of a message", ANSWER_S) from None
            except (EOFError, OSError):
                source.close()
                continue
            if source is self._watch:
                self._told(message)
            else:
                self._take(message)
        return bool(ready)

    def _take(self, message: Message) -> None:
        if set(message) == {"crash"}:
            self._crash = message["crash"]
        else:
            self._inbox.append(message)

    def _told(self, message: Message) -> None:
        """Deal with one message of the shepherd."""
        if "hit" in message:
            self._hits.append(Hit.from_wire(message["hit"]))
            if self._hits[-1].action == "die":
                self._died_at = self._hits[-1]
        elif "records" in message:
            self._records += [Hit.from_wire(hit) for hit in message["records"]]
        elif "exit" in message:
            self._left = message["left"]
            self._ended(message["exit"])
        elif "expired" not in message:
            self._answers.append(message)

    def _ended(self, data: Message) -> None:
        # What the worker sent last lies in its channel already; a traceback belongs to the exit.
        with contextlib.suppress(EOFError, OSError):
            while self._channel.poll():
                self._take(self._channel.receive())
        ended = Exit(**{**data, "usage": Usage(**data["usage"])})
        by_limit = self._limits.cpu_s is not None and ended.signal == signals.SIGXCPU
        self._exit = replace(
            ended,
            by_lab=ended.by_lab or by_limit or ended.signal in self._sent,
            crash=self._crash,
            note="used up its processor time limit" if by_limit else ended.note,
        )

    def _end_shepherd(self) -> None:
        """Have the shepherd kill what is left, and wait until it has ended."""
        with contextlib.suppress(OSError):
            self._watch.send({"end": True})
        deadline = time.monotonic() + ANSWER_S
        while not self._watch.closed and remaining(deadline):
            self._listen(remaining(deadline))
        self._watch.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def stack(self) -> str:
        """Return what the worker is doing, seen from outside."""
        return stack_of(self.pid)

    def _stuck(self, lack: str, timeout_s: float) -> DeadlineError:
        return DeadlineError(
            f"worker {self.name!r} (process {self.pid}) {lack} within {timeout_s:.3g} s; it was "
            f"at:\n{self.stack()}"
        )
