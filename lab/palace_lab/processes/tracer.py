"""The tracer: counts a worker's calls over all its threads and acts at the armed crash points.

Rules: it lives in the worker's parent and is used from one thread. "Exactly k - 1 calls happened"
is kept under threads too: a matching call that is let through is watched until it has returned,
and a die or wait point acts only when none of those before it is still on its way; meanwhile, for
die, no further call is let through. Signals meant for the worker are passed on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from palace_lab.processes import ptrace, syscalls
from palace_lab.processes.counting import Armed, Held, Pending
from palace_lab.processes.points import CrashPoint, Hit

#: Recorded hits kept for one worker; beyond, they are only counted.
RECORDED_MAX = 200_000
#: fail hits told one by one, so that a disk that always fails does not flood the lab.
FAILS_TOLD_MAX = 1_000
#: How long earlier matching calls may take to return before a point acts without them, seconds.
SETTLE_S = 5.0

_STOPPING = frozenset({signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})


class Tracer:
    """Traces one worker and all it starts.

    `tell` is called with messages for main. `how` is `ptrace.CONT` where a seccomp filter picks
    the calls, `ptrace.SYSCALL` where every call stops. Paths of hits are told relative to `root`.
    """

    def __init__(
        self,
        worker: int,
        calls: dict[int, syscalls.Call],
        how: int,
        root: str,
        tell: Callable[[dict[str, Any]], None],
    ) -> None:
        self._worker = worker
        self._calls = calls
        self._how = how
        self._root = root.rstrip("/") + "/"
        self._tell = tell
        self._threads: dict[int, int] = {worker: 0}
        self._indices = count(1)
        self._idents = count(1)
        self._armed: list[Armed] = []
        self._held: dict[int, Held] = {}
        self._slowed: dict[int, Held] = {}
        self._listening: set[int] = set()
        self._fails_told = 0
        self._dying = False
        self.recorded: list[Hit] = []
        self.recorded_beyond = 0

    @property
    def dying(self) -> bool:
        """Tell whether something killed at a crash point has not ended yet."""
        return self._dying and bool(self._threads)

    def attach(self) -> None:
        """Begin tracing the worker, which must not be past its own beginning."""
        ptrace.seize(self._worker)
        if self._how == ptrace.SYSCALL:
            ptrace.interrupt(self._worker)

    def arm(self, points: Sequence[CrashPoint]) -> None:
        """Add points; their counting begins now."""
        self._armed += [Armed(point) for point in points]

    def resume(self, ident: int | None) -> int:
        """Let the held thread of that hit run on, or all of them; return how many did."""
        tids = [tid for tid, held in self._held.items() if ident in (None, held.hit.ident)]
        for tid in tids:
            self._let_go(tid, self._held.pop(tid))
        return len(tids)

    def _let_go(self, tid: int, held: Held) -> None:
        for armed in held.others:
            armed.on_their_way.add(tid)
        with contextlib.suppress(ProcessLookupError):
            self._run(tid)

    def die(self) -> None:
        """Kill the worker and all it started, wherever they are."""
        self._dying = True
        for tid in list(self._threads):
            with contextlib.suppress(ProcessLookupError):
                os.kill(tid, signal.SIGKILL)

    def paused(self) -> bool:
        """Tell whether SIGSTOP has reached every thread of the worker, held ones aside."""
        still = {
            *self._listening,
            *self._held,
            *self._slowed,
            *(a.pending.tid for a in self._armed if a.pending),
        }
        tasks = Path(f"/proc/{self._worker}/task").iterdir()
        return all(int(task.name) in still for task in tasks)

    def deadline(self) -> float | None:
        """Return when `expire` has something to do, on `time.monotonic`'s clock."""
        times = [held.deadline for held in (*self._held.values(), *self._slowed.values())]
        times += [armed.pending.deadline for armed in self._armed if armed.pending]
        return min(times, default=None)

    def expire(self) -> None:
        """Act on what has waited too long."""
        now = time.monotonic()
        for held in list(self._held.values()):
            if held.deadline <= now and not self._dying:
                self._tell({"expired": held.hit.to_wire()})
                self.die()
        for armed in self._armed:
            if armed.pending and armed.pending.deadline <= now:
                self._act(armed, exact=False)
        for tid in [tid for tid, held in self._slowed.items() if held.deadline <= now]:
            self._let_go(tid, self._slowed.pop(tid))

    def handle(self, tid: int, status: int) -> None:
        """Deal with one wait status of any traced thread."""
        # ESRCH: the thread was killed since; the wait status that says so is on its way.
        with contextlib.suppress(ProcessLookupError):
            if os.WIFSTOPPED(status):
                self._stopped(tid, os.WSTOPSIG(status), status >> 16)
            else:
                self._forget(tid)

    def _stopped(self, tid: int, signal_number: int, event: int) -> None:
        if tid not in self._threads:
            self._threads[tid] = next(self._indices)
        self._listening.discard(tid)
        if self._dying:
            os.kill(tid, signal.SIGKILL)  # it was being made while the others were killed
        elif event == ptrace.EVENT_SECCOMP or signal_number == ptrace.SYSCALL_TRAP:
            self._call(tid)
        elif event == ptrace.EVENT_STOP and signal_number in _STOPPING:
            ptrace.listen(tid)
            self._listening.add(tid)
        elif event == ptrace.EVENT_EXEC:
            self._forget(ptrace.former_tid(tid), unless=tid)
            self._run(tid)
        elif event:
            self._run(tid)
        else:
            self._run(tid, signal_number)

    def _call(self, tid: int) -> None:
        stop = ptrace.call_stop(tid)
        if stop.op == ptrace.OP_EXIT:
            self._returned(tid)
            self._run(tid)
            return
        call = self._calls.get(stop.number)
        matching = list(self._matching(tid, call, stop.args)) if call else []
        acting = None
        for armed, hit in matching:
            if armed.point.action == "record":
                self._record(hit)
            elif armed.seen >= armed.point.k and (acting is None or hit.rank < acting[1].rank):
                acting = (armed, hit)
        counting = [
            armed
            for armed, _ in matching
            if armed.point.action in ("die", "wait") and not (acting and armed is acting[0])
        ]
        if acting is None:
            for armed in counting:
                armed.on_their_way.add(tid)
            self._run(tid)
        elif acting[1].action == "fail":
            self._fail(tid, *acting)
        elif acting[1].action == "slow":
            armed, hit = acting
            armed.spend_repeats()
            self._slowed[tid] = Held(hit, time.monotonic() + armed.point.delay_s, counting)
        else:
            armed, hit = acting
            armed.spent = True
            armed.pending = Pending(tid, hit, time.monotonic() + SETTLE_S, counting)
            self._settle()

    def _matching(
        self, tid: int, call: syscalls.Call, args: tuple[int, ...]
    ) -> Iterator[tuple[Armed, Hit]]:
        live = [a for a in self._armed if a.point.syscall == call.family and not a.spent]
        paths = call.paths(tid, args) if live else []
        for armed in live:
            for path in paths:
                if armed.matches(path):
                    armed.seen += 1
                    yield (
                        armed,
                        Hit(
                            syscall=call.name,
                            path=path.removeprefix(self._root),
                            k=armed.seen,
                            action=armed.point.action,
                            thread=self._threads[tid],
                            size_bytes=call.size_bytes(tid, args),
                        ),
                    )
                    break

    def _record(self, hit: Hit) -> None:
        if len(self.recorded) < RECORDED_MAX:
            self.recorded.append(hit)
        else:
            self.recorded_beyond += 1

    def _fail(self, tid: int, armed: Armed, hit: Hit) -> None:
        armed.spend_repeats()
        ptrace.skip_call(tid, getattr(errno, armed.point.errno))
        if self._fails_told < FAILS_TOLD_MAX:
            self._fails_told += 1
            self._tell_hit(hit, exact=True)
        self._run(tid)

    def _settle(self) -> None:
        for armed in self._armed:
            if armed.pending and not armed.on_their_way:
                self._act(armed, exact=True)

    def _act(self, armed: Armed, *, exact: bool) -> None:
        pending, armed.pending = armed.pending, None
        if pending is None or self._dying:
            return
        told = self._tell_hit(pending.hit, exact=exact)
        if told.action == "die":
            self.die()
        else:
            deadline = time.monotonic() + armed.point.hold_s
            self._held[pending.tid] = Held(told, deadline, pending.others)

    def _tell_hit(self, hit: Hit, *, exact: bool) -> Hit:
        told = Hit(**{**hit.to_wire(), "ident": next(self._idents), "exact": exact})
        self._tell({"hit": told.to_wire()})
        return told

    def _returned(self, tid: int) -> None:
        for armed in self._armed:
            armed.on_their_way.discard(tid)
        self._settle()

    def _forget(self, tid: int, *, unless: int | None = None) -> None:
        if tid == unless:
            return
        self._threads.pop(tid, None)
        self._held.pop(tid, None)
        self._slowed.pop(tid, None)
        self._listening.discard(tid)
        self._returned(tid)

    def _run(self, tid: int, signal_number: int = 0) -> None:
        if self._dying:
            return
        on_its_way = any(tid in armed.on_their_way for armed in self._armed)
        if self._about_to_die() and not on_its_way:
            return  # left stopped: it would run past the crash point
        ptrace.resume(tid, ptrace.SYSCALL if on_its_way else self._how, signal_number)

    def _about_to_die(self) -> bool:
        return any(a.pending and a.pending.hit.action == "die" for a in self._armed)
