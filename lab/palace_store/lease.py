"""One process at a time changes a palace: a lock in the palace, bounded and fenced (S1, S2).

Rules:
- Every operation takes the lock file of the palace (flock): alone for changes, shared for reads.
  The kernel gives it back when a process dies, however it dies.
- A waiter never waits for ever: it is told who holds the palace and what to do.
- Who waits longest is next, nearly: waiters meet at a second lock, the turnstile, which a busy
  writer that has just given the palace back must pass as well, and look there more often the
  longer they wait. Four busy writers with 20 ms a turn: longest wait 0.1-0.4 s instead of
  0.4-1.2 s. It is a courtesy and bounded: past one that stands in it stopped, others go.
- Who changes the palace after somebody else pays for it: its client is reopened. So a writer that
  comes back at once may go on, for a turn of `_TURN_TIMES` times what its first change took; the
  others let it pass. At once is a quarter of that: to reopen 28,000 drawers takes 0.2 s.
- `hold` keeps the palace over several operations. A holder that is stopped for longer than its
  term is overtaken; when it wakes, its next operation is refused before any effect (a fence).
- A holder that is stopped *inside* one operation is never overtaken: nothing can take back the
  files it has open. Waiters are told its pid instead.
"""

from __future__ import annotations

import fcntl
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from palace_store.errors import LeaseLostError, LeaseTimeoutError, UnusablePalaceError
from palace_store.owner import Owner
from palace_store.state import DIRECTORY, Hold, State, Turn, read_state, write_state

_FILE = "lock"
_TURNSTILE = "turn"
#: Pauses between two looks at a lock: they become shorter the longer one waits, so that who came
#: first is before who came last; longer again where nothing but time or a person can help.
_FIRST_PAUSE_S = 0.004
_PAUSE_S_MIN = 0.0005
_LONG_WAIT_S = 1.0
_LONG_PAUSE_S = 0.002
_HELD_PAUSE_S = 0.01
#: How long the turnstile is respected.
_COURTESY_S_MAX = 0.5
#: A turn: its length in first changes, and how soon its owner must come back, as a part of it.
_TURN_TIMES, _TURN_S_MAX = 4, 1.0
_TURN_GAP, _TURN_GAP_S_MIN, _TURN_GAP_S_MAX = 1 / 16, 0.005, 0.05


class Lease:
    """The right of one process to work on one palace. Not thread-safe: callers serialise."""

    def __init__(self, palace: Path, *, timeout_s: float = 60.0) -> None:
        if not timeout_s > 0:
            raise ValueError(f"timeout_s must be above 0, not {timeout_s}")
        self._palace = palace
        self._directory = palace / DIRECTORY
        self._file = str(self._directory / _FILE)
        self._turnstile = str(self._directory / _TURNSTILE)
        self.timeout_s = min(timeout_s, threading.TIMEOUT_MAX)
        self._token: int | None = None  # of our own hold
        self._taken_s = 0.0  # when the palace was taken for the operation under way
        self._turn_until_s = 0.0

    @contextmanager
    def exclusive(self) -> Iterator[State]:
        """Take the palace alone; yields the shared state as it stands."""
        with self._locked(fcntl.LOCK_EX) as found:
            state = found
            if found.hold is not None and self._token is None:
                # Its holder is dead or out of time. The fence comes first: from here on the
                # palace may change, and whoever held it must not think that it did not.
                state = found.changed(hold=None)
                write_state(self._palace, state, durable=False)
            yield state

    @contextmanager
    def shared(self) -> Iterator[State]:
        """Take the palace together with other readers; yields the shared state."""
        with self._locked(fcntl.LOCK_SH) as state:
            yield state

    @contextmanager
    def hold(self, term_s: float) -> Iterator[None]:
        """Keep the palace for up to `term_s` seconds over all operations inside the block."""
        if self._token is not None:
            raise ValueError("this process already holds the palace; holds do not nest")
        if not term_s > 0:
            raise ValueError(f"term_s must be above 0, not {term_s}")
        with self.exclusive() as state:
            token = state.token + 1
            hold = Hold(Owner.current(), token, _boot_clock_s() + term_s)
            write_state(self._palace, state.changed(token=token, hold=hold), durable=False)
            self._token = token
        try:
            yield
        finally:
            self._give_back()

    def _give_back(self) -> None:
        try:
            with suppress(LeaseLostError), self.exclusive() as state:  # lost: a peer has it
                write_state(self._palace, state.changed(hold=None), durable=False)
        finally:
            self._token = None

    def turn(self, state: State) -> Turn:
        """Return the turn that a change which ends now begins, or goes on with."""
        now_s = _boot_clock_s()
        turn = state.turn
        if turn is None or turn.pid != os.getpid() or not turn.left_s <= now_s < turn.until_s:
            length_s = min(_TURN_S_MAX, _TURN_TIMES * (now_s - self._taken_s))
            gap_s = min(max(_TURN_GAP * length_s, _TURN_GAP_S_MIN), _TURN_GAP_S_MAX)
            turn = Turn(os.getpid(), now_s + length_s, now_s, gap_s)
        self._turn_until_s = turn.until_s
        return replace(turn, left_s=now_s)

    def timed_out(self, holder: int | None) -> LeaseTimeoutError:
        """Return the error for a wait that has lasted as long as it may."""
        who = "another process" if holder is None else f"process {holder}"
        if holder == os.getpid():
            who = f"another thread or store of this process ({holder})"
        return LeaseTimeoutError(
            f"{self._palace} is kept by {who}, waited {self.timeout_s:g} s; nothing was changed: "
            "try again, or if that process is stopped, resume it (kill -CONT) or end it",
            holder=holder,
        )

    @contextmanager
    def _locked(self, how: int) -> Iterator[State]:
        handle, turnstile = self._opened()
        try:
            try:
                state = self._wait(handle, turnstile, how)
            finally:
                os.close(turnstile)
            self._taken_s = _boot_clock_s()
            yield state
        finally:
            os.close(handle)  # gives the lock back

    def _opened(self) -> tuple[int, int]:
        try:
            try:
                handle = _open(self._file)
            except FileNotFoundError:
                self._directory.mkdir(parents=True, exist_ok=True)
                handle = _open(self._file)
            try:
                return handle, _open(self._turnstile)
            except OSError:
                os.close(handle)
                raise
        except OSError as error:
            raise UnusablePalaceError(
                f"{self._palace} cannot be used as a palace ({error.strerror}: {error.filename}): "
                "it has to be a folder that this user may write to"
            ) from error

    def _wait(self, handle: int, turnstile: int, how: int) -> State:
        began = time.monotonic()
        patience_s = min(_COURTESY_S_MAX, self.timeout_s / 2)
        # Who holds the palace, or has its turn, does not queue behind those that wait for it.
        is_next = self._token is not None or _boot_clock_s() < self._turn_until_s
        pause_s = _PAUSE_S_MIN if is_next else _FIRST_PAUSE_S
        while True:
            holder: int | None = None
            passing_s = 0.0
            waited_s = time.monotonic() - began
            is_next = is_next or _try_lock(turnstile, fcntl.LOCK_EX)
            if (is_next or waited_s > patience_s) and _try_lock(handle, how):
                state = read_state(self._palace)
                holder = self._foreign_holder(state)
                passing_s = _let_pass_s(state)
                if holder is None and passing_s <= 0:
                    return state
                fcntl.flock(handle, fcntl.LOCK_UN)
            if waited_s >= self.timeout_s:
                raise self.timed_out(holder or _locked_by(handle))
            time.sleep(max(passing_s, random.uniform(pause_s / 2, pause_s)))  # noqa: S311  (jitter)
            pause_s = max(pause_s * 0.7, _PAUSE_S_MIN)
            if waited_s > _LONG_WAIT_S:
                pause_s = _LONG_PAUSE_S
            if holder is not None:
                pause_s = _HELD_PAUSE_S

    def _foreign_holder(self, state: State) -> int | None:
        """Return who else keeps the palace, or None; raises if our own hold was taken over."""
        hold = state.hold
        if self._token is not None:
            if hold is None or hold.token != self._token:
                raise LeaseLostError(
                    f"process {os.getpid()} held {self._palace} under token {self._token}, but "
                    "its term ran out and the palace has been changed since; nothing was changed "
                    "by this operation: start the work again from what the palace says now"
                )
            return None
        if hold is None or _boot_clock_s() >= hold.expires_s or not hold.owner.alive():
            return None
        return hold.owner.pid


def _open(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _let_pass_s(state: State) -> float:
    """Return for how long a peer whose turn it is may still come back, in seconds."""
    turn, now_s = state.turn, _boot_clock_s()
    if turn is None or turn.pid == os.getpid() or now_s < turn.left_s:
        return 0.0  # of another boot, if it was left later than now
    return min(turn.until_s, turn.left_s + min(turn.gap_s, _TURN_GAP_S_MAX)) - now_s


def _try_lock(handle: int, how: int) -> bool:
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _locked_by(handle: int) -> int | None:
    """Return a process that has the file locked, as the kernel lists it; None if it does not say.

    Some file systems are listed under another device than they show; the inode then decides.
    """
    status = os.fstat(handle)
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    likely = None
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        words = line.split()  # 1: FLOCK  ADVISORY  WRITE 4711 fd:01:262146 0 EOF
        if words[1:2] != ["FLOCK"] or not words[5].endswith(f":{status.st_ino}"):
            continue
        pid = int(words[4])
        if pid > 0 and words[5] == f"{device}:{status.st_ino}":
            return pid
        likely = pid if pid > 0 else likely
    return likely


def _boot_clock_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
