"""Main's handle on one worker: talk to it, wait at its crash points, end it, learn how it ended.

Rules: every wait is bounded and ends in an answer, in `WorkerGoneError` with the exit, or in
`DeadlineError` with the worker's stack. Signals go through a pidfd, so they never reach another
process. A handle is used by one thread at a time and is **not** thread-safe.
"""

from __future__ import annotations

import contextlib
import signal as signals
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

from multiprocess.connection import wait as wait_ready

from palace_lab.errors import LabError, RefusedError, UsageError
from palace_lab.processes import kernel
from palace_lab.processes.exits import Exit, Limits, WorkerGoneError
from palace_lab.processes.line import ANSWER_S, Line
from palace_lab.processes.points import CrashPoint, Hit
from palace_lab.processes.wire import Channel, Message, remaining

_LOOK_EVERY_S = 0.001


@final
class Worker(Line):
    """A worker process and its shepherd. Made by `Host.launch`.

    `tracing` is how it is traced: "seccomp", "syscall" or, without crash points, None.
    """

    def __init__(
        self,
        name: str,
        *,
        channel: Channel,
        watch: Channel,
        shepherd: int,
        log: Path,
        traced: frozenset[str],
        tracing: str | None,
        limits: Limits,
    ) -> None:
        super().__init__(name, channel=channel, watch=watch, traced=traced, limits=limits)
        self.log = log
        self.shepherd = shepherd
        self.tracing = tracing

    def begin(self) -> None:
        """Wait until the shepherd has started the worker; raises RefusedError if it could not."""
        try:
            message = self._watch.receive(ANSWER_S)
            if "refused" in message:
                raise RefusedError(f"worker {self.name!r}: {message['refused']}")
            self.pid = message["started"]
            self._pidfd = self._watch.receive_fd(ANSWER_S)
        except (EOFError, OSError) as error:
            raise LabError(
                f"the shepherd of worker {self.name!r} did not start: {error}"
            ) from error

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Tell whether the worker has not ended yet (a stopped or held worker is alive)."""
        while self._exit is None and self._listen(0):
            pass
        return self._exit is None and not self._watch.closed

    @property
    def closed(self) -> bool:
        """Tell whether nothing of the worker and its shepherd is left."""
        return self._watch.closed

    @property
    def exit(self) -> Exit | None:
        """How the worker ended, as far as it was noticed; None while it lives."""
        return self._exit

    @property
    def died_at(self) -> Hit | None:
        """The die point it came to, as far as it was noticed; None if it came to none."""
        return self._died_at

    @property
    def has_message(self) -> bool:
        """Tell whether `receive` has something at once."""
        while not self._inbox and self._listen(0):
            pass
        return bool(self._inbox)

    @property
    def has_hit(self) -> bool:
        """Tell whether `hit` has something at once."""
        while not self._hits and self._listen(0):
            pass
        return bool(self._hits)

    def send(self, message: Mapping[str, Any]) -> None:
        """Send plain data to the worker's entry."""
        try:
            self._channel.send(message)
        except BlockingIOError:
            raise self._stuck("did not read a message sent to it", ANSWER_S) from None
        except OSError:
            raise WorkerGoneError(self.name, self.wait_exit(ANSWER_S)) from None

    def receive(self, timeout_s: float, *, waited_s: float = 0.0) -> Message:
        """Return the next message of the worker's entry; `waited_s` were waited for it before."""
        return self._await(self._next_message, timeout_s, "sent no message", waited_s=waited_s)

    def hit(self, timeout_s: float) -> Hit:
        """Return the next die, wait or fail point reached."""
        return self._await(self._next_hit, timeout_s, "reached no crash point")

    def resume(self, hit: Hit | None = None) -> int:
        """Let the thread held at `hit` go on, or all held threads; return how many did."""
        answer = self._ask({"resume": None if hit is None else hit.ident}, "resumed")
        return int(answer["resumed"])

    def die(self) -> None:
        """Have the shepherd kill the worker and, if traced, all it started."""
        with contextlib.suppress(OSError):
            self._watch.send({"die": True})

    def arm(self, points: Sequence[CrashPoint]) -> None:
        """Add crash points; they count from now.

        Raises UsageError for a syscall family the worker was not launched to be traced for.
        """
        for point in points:
            if point.syscall not in self._traced:
                raise UsageError(
                    f"worker {self.name!r} is not traced for {point.syscall!r}: name it in "
                    f"launch(traceable=...) to arm points there later"
                )
        self._ask({"arm": [point.to_wire() for point in points]}, "armed")

    def recorded(self) -> list[Hit]:
        """Return all hits of record points so far, in the order they happened."""
        self._fetch_records()
        if self._beyond:
            raise LabError(
                f"worker {self.name!r} made {self._beyond} more recorded calls than are kept; "
                f"use a narrower pattern"
            )
        return list(self._records)

    def signal(self, number: int) -> bool:
        """Send a signal to the worker process; False if it has ended."""
        if self._pidfd < 0:
            return False
        self._sent.add(int(number))
        return kernel.pidfd_signal(self._pidfd, int(number))

    def kill(self) -> bool:
        """Send SIGKILL; False if the worker has ended."""
        return self.signal(signals.SIGKILL)

    def pause(self, timeout_s: float = ANSWER_S) -> None:
        """Send SIGSTOP and wait until no thread of the worker runs any more."""
        deadline = time.monotonic() + timeout_s
        if not self.signal(signals.SIGSTOP):
            raise WorkerGoneError(self.name, self.wait_exit(ANSWER_S))
        while not self._paused():
            if not self.alive:
                raise WorkerGoneError(self.name, self.wait_exit(ANSWER_S))
            if not remaining(deadline):
                raise self._stuck("did not stop", timeout_s)
            time.sleep(_LOOK_EVERY_S)  # the kernel tells nobody but the parent

    def unpause(self) -> None:
        """Send SIGCONT."""
        self.signal(signals.SIGCONT)

    def wait_exit(self, timeout_s: float) -> Exit:
        """Return how the worker ended; messages it sent before can still be received."""
        ended = self._await(lambda: self._exit, timeout_s, "did not end")
        self._retire()
        return ended

    def close(self) -> None:
        """End the worker and everything it left behind, and give back all descriptors."""
        if not self._watch.closed:
            self._end_shepherd()
        self._channel.close()

    def _paused(self) -> bool:
        if self._traced:
            return bool(self._ask({"paused": True}, "paused")["paused"])
        with contextlib.suppress(OSError):
            stats = [task / "stat" for task in Path(f"/proc/{self.pid}/task").iterdir()]
            return all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in stats)
        return False  # a thread ended while we looked

    def _fetch_records(self) -> None:
        if self._traced and not self._watch.closed:
            self._beyond = self._ask({"recorded": True}, "recorded")["beyond"]

    def _retire(self) -> None:
        """Let the shepherd of an ended worker go, unless it guards something that was left."""
        if self._watch.closed or self._left:
            return
        self._fetch_records()
        self._end_shepherd()


def wait_any(workers: Sequence[Worker], timeout_s: float, *, hits: bool = False) -> list[Worker]:
    """Return the workers with a message to receive or an exit to see, [] if none in time.

    With `hits`, also those that reached a crash point.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        found = [w for w in workers if w.has_message or not w.alive or (hits and w.has_hit)]
        left = remaining(deadline)
        if found or not left:
            return found
        wait_ready([source for w in workers for source in w.sources()], left)
