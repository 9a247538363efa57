"""A shepherd: the parent of one worker, which traces it, answers for it and cleans up after it.

Rules: everything happens in one thread, as ptrace demands: one `poll` on main's messages and on
SIGCHLD, then `wait4` without blocking. The shepherd is a subreaper, so what the worker leaves
behind becomes the shepherd's child; it ends, killing what is left, when main closes the watch
connection, and dies with the host.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

from palace_lab.processes import inside, kernel, ptrace, syscalls
from palace_lab.processes.exits import Exit, Usage
from palace_lab.processes.points import CrashPoint
from palace_lab.processes.tracer import Tracer
from palace_lab.processes.wire import Channel, Message

#: How long the watch connection may block before main counts as gone, seconds.
PATIENCE_S = 30.0
#: How long killed descendants may take to disappear, seconds.
_REAP_S = 10.0
_RECORDS_PER_MESSAGE = 2_000
#: A worker that stops all the time must not keep main from being heard.
_STOPS_AT_ONCE = 100
_WALL = 0x40000000  # also wait for threads that clone made without SIGCHLD


def tend(
    request: Mapping[str, Any], channel_fd: int, watch_fd: int, release: Callable[[], None]
) -> None:
    """Fork the worker `request` describes and stay until main has no more use for it.

    `release` closes what the host holds and neither shepherd nor worker may.
    """
    kernel.die_with_parent(request["host"])
    kernel.become_subreaper()
    release()
    wake_fds = wake_on_child()
    go_read, go_write = os.pipe()
    shepherd = os.getpid()
    worker = os.fork()
    if worker == 0:
        signal.set_wakeup_fd(-1)
        for fd in (go_write, watch_fd, *wake_fds):
            os.close(fd)
        inside.run(request, channel_fd, go_read, shepherd)
    os.close(go_read)
    os.close(channel_fd)
    watch = Channel(watch_fd, patience_s=PATIENCE_S)
    try:
        _Shepherd(request, worker, watch, wake_fds[0]).tend(go_write)
    except (OSError, EOFError):
        pass  # main is gone or does not listen: nothing is left to do but to clean up
    finally:
        kill_descendants()
        watch.close()


class _Shepherd:
    """The state of `tend`."""

    def __init__(
        self, request: Mapping[str, Any], worker: int, watch: Channel, wake_fd: int
    ) -> None:
        self._worker = worker
        self._watch = watch
        self._wake_fd = wake_fd
        self._request = request
        self._pidfd = kernel.pidfd_open(worker)
        self._tracer: Tracer | None = None
        self._killed = False
        self._childless = False
        self._note: str | None = None
        self._exit: Exit | None = None

    def tend(self, go_fd: int) -> None:
        if not self._attach():
            return
        self._watch.send({"started": self._worker})
        self._watch.send_fd(self._pidfd, self._request["main"])
        os.close(self._pidfd)
        with contextlib.suppress(BrokenPipeError):  # main may have killed the worker by now
            os.write(go_fd, b"g")
        os.close(go_fd)
        poll = select.poll()
        poll.register(self._watch.fileno(), select.POLLIN)
        poll.register(self._wake_fd, select.POLLIN)
        more = False
        while True:
            for fd, _ in poll.poll(0 if more else self._patience_ms()):
                if fd == self._wake_fd:
                    drain(fd)
                elif not self._answer(self._watch.receive()):
                    return
            more = self._wait_for_children()
            if self._tracer:
                self._tracer.expire()

    def _attach(self) -> bool:
        if not self._request["trace"]:
            return True
        how = ptrace.CONT if self._request["families"] else ptrace.SYSCALL
        points = [CrashPoint.from_wire(point) for point in self._request["points"]]
        try:
            machine = ptrace.machine()
            calls = syscalls.table(machine, frozenset(self._request["trace"]))
            tracer = Tracer(self._worker, calls, how, self._request["root"], self._tell)
            tracer.attach()
        except OSError as error:
            self._watch.send({"refused": f"crash points are not available here: {error}"})
            return False
        tracer.arm(points)
        self._tracer = tracer
        return True

    def _patience_ms(self) -> int | None:
        deadline = self._tracer.deadline() if self._tracer else None
        if deadline is None:
            return None
        return max(0, int((deadline - time.monotonic()) * 1000) + 1)

    def _wait_for_children(self) -> bool:
        """Deal with what children did; True if there may be more, after a look at main."""
        if self._childless:
            return False
        for _ in range(_STOPS_AT_ONCE):
            try:
                tid, status, usage = os.wait4(-1, os.WNOHANG | _WALL)
            except ChildProcessError:
                self._childless = True
                return False
            if tid == 0:
                return False
            if self._tracer:
                self._tracer.handle(tid, status)
            if tid == self._worker and not os.WIFSTOPPED(status):
                self._exit = self._ended(status, usage)
            self._tell_exit()
        return True

    def _ended(self, status: int, usage: Any) -> Exit:
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        return Exit(
            code=None if number else os.WEXITSTATUS(status),
            signal=number,
            by_lab=self._killed and number == signal.SIGKILL,
            usage=Usage(
                maxrss_bytes=usage.ru_maxrss * 1024,
                user_s=usage.ru_utime,
                system_s=usage.ru_stime,
                written_bytes=usage.ru_oublock * 512,
            ),
            note=self._note,
        )

    def _tell_exit(self) -> None:
        # After a crash point everything traced was killed: the worker has ended when all of it has.
        if self._exit and not (self._tracer and self._tracer.dying):
            ended, self._exit = self._exit, None
            self._watch.send({"exit": ended.to_wire(), "left": _has_children()})

    def _tell(self, message: Message) -> None:
        expired = message.get("expired")
        if expired:
            self._note = f"nobody answered for the thread held at {expired['path']} in time"
        if expired or message["hit"]["action"] == "die":
            self._killed = True
        self._watch.send(message)

    def _answer(self, message: Message) -> bool:
        """Do what main asks; False if it asks to end."""
        if "end" in message:
            return False
        if "die" in message:
            self._killed = True
            if self._tracer:
                self._tracer.die()
            elif not self._childless:
                os.kill(self._worker, signal.SIGKILL)
        elif self._tracer is None:
            self._watch.send({"refused": "this worker was started without crash points"})
        elif "arm" in message:
            self._tracer.arm([CrashPoint.from_wire(point) for point in message["arm"]])
            self._watch.send({"armed": len(message["arm"])})
        elif "resume" in message:
            self._watch.send({"resumed": self._tracer.resume(message["resume"])})
        elif "paused" in message:
            self._watch.send({"paused": self._childless or self._tracer.paused()})
        elif "recorded" in message:
            self._send_records(self._tracer)
        return True

    def _send_records(self, tracer: Tracer) -> None:
        records, tracer.recorded = tracer.recorded, []
        for start in range(0, len(records), _RECORDS_PER_MESSAGE):
            part = records[start : start + _RECORDS_PER_MESSAGE]
            self._watch.send({"records": [hit.to_wire() for hit in part]})
        self._watch.send({"recorded": len(records), "beyond": tracer.recorded_beyond})


def kill_descendants() -> None:
    """Kill and reap every descendant: orphans come to a subreaper, so its children suffice."""
    deadline = time.monotonic() + _REAP_S
    while time.monotonic() < deadline:
        for child in kernel.children(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG | _WALL)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.001)  # only for the kernel's work of ending them; nothing depends on it


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT | _WALL)
    except ChildProcessError:
        return False
    return True


def wake_on_child() -> tuple[int, int]:
    """Return a pipe that becomes readable whenever a child ends or stops."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    return read, write


def drain(fd: int) -> None:
    """Empty the pipe of `wake_on_child`."""
    with contextlib.suppress(BlockingIOError):
        os.read(fd, 65536)
