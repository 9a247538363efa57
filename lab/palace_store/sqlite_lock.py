"""Waiting for SQLite's locks: what a lock error is, how long it is waited for, what it left behind.

* Every wait is bounded twice, by attempts and by seconds.
* SQLite refuses some conflicts at once, whatever busy_timeout says: a deferred transaction that
  has read and then writes after a peer committed (SQLITE_BUSY_SNAPSHOT), and the switch of a file
  to WAL while a peer is in a transaction. Only running the whole thing again helps there.
* A COMMIT that is refused with SQLITE_BUSY leaves its transaction open. It is rolled back, which
  makes "nothing was written" certain, and the whole transaction may be run again. A COMMIT that
  fails and leaves no transaction open is ambiguous: it is reported as unknown and never repeated.
"""

from __future__ import annotations

import fcntl
import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal, TypeVar

from palace_store.errors import PalaceError, PalaceInputError

T = TypeVar("T")
Effect = Literal["none", "unknown"]

# Result codes of SQLite; Python names them from 3.11 on only.
_BUSY = 5
_PROTOCOL = 15  # WAL could not get at its shared index: contention as well
_LOCK_TEXTS = ("database is locked", "locking protocol")
#: Of what a store waits, in seconds before scaling; our choice.
BACKOFF_FIRST_S = 0.02
BACKOFF_MAX_S = 1.0
SETUP_ATTEMPTS_MAX = 1_000_000  # a first opener is bounded by its seconds alone
TIME_SCALE_MAX = 1000.0  # our choice: 60 s become 17 hours
SETUP_BACKOFF_MAX_S = 0.1  # several first openers stand in line for the same short work
#: Python runs no handler of a signal while SQLite waits, so SQLite never waits longer than this.
_SLICE_MS = 1000
_POLL_FIRST_S, _POLL_MAX_S = 0.001, 0.05


class PalaceLockedError(PalaceError, sqlite3.OperationalError):
    """Another process kept the database locked for longer than we wait.

    `effect` is "none" where it is certain that nothing was written, else "unknown".
    """

    def __init__(self, message: str, effect: Effect = "none") -> None:
        super().__init__(message)
        self.effect: Effect = effect


def check_time_scale(time_scale: float) -> None:
    """Refuse a factor of all time-outs that SQLite and Python could not wait for."""
    if not isinstance(time_scale, int | float) or not 0 < time_scale <= TIME_SCALE_MAX:
        raise PalaceInputError(
            f"time_scale is {time_scale!r:.80}: pass a number above 0, {TIME_SCALE_MAX:g} at most"
        )


def is_lock_error(error: BaseException) -> bool:
    """Tell whether SQLite, or a lock file of ours, says that somebody else is at work."""
    if isinstance(error, BlockingIOError):
        return True
    if not isinstance(error, sqlite3.OperationalError):
        return False
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(code, int):
        return code & 0xFF in (_BUSY, _PROTOCOL)
    return str(error) in _LOCK_TEXTS  # Python 3.10 has no error codes


@dataclass(frozen=True)
class Patience:
    """How long one operation on `path` waits for locks; seconds, already scaled."""

    path: Path
    busy_s: float
    """One wait inside SQLite."""
    total_s: float
    """All attempts together, pauses included."""
    attempts_max: int
    backoff_first_s: float
    backoff_max_s: float
    rng: random.Random

    def run(
        self,
        db: sqlite3.Connection,
        action: Callable[[], T],
        on_locked: Callable[[], None] | None = None,
    ) -> T:
        """Run the action until no lock stands in its way, or raise `PalaceLockedError`.

        The action must leave nothing behind when it fails. The pause before attempt n is drawn
        from 0 to first * 2^n seconds, so that processes that failed together do not come back
        together.
        """

        def attempt(busy_s: float) -> T:
            db.execute(f"PRAGMA busy_timeout={round(1000 * busy_s)}")
            return action()

        return self.run_each(attempt, on_locked)

    def run_each(
        self, attempt: Callable[[float], T], on_locked: Callable[[], None] | None = None
    ) -> T:
        """Do the same with an attempt that waits by itself for as many seconds as it is told."""
        begun = time.monotonic()
        left_s = self.total_s
        for number in count():
            try:
                return attempt(max(0.0, min(self.busy_s, left_s)))
            except (sqlite3.OperationalError, BlockingIOError) as error:
                if not is_lock_error(error):
                    raise
                pause_s = self.rng.uniform(
                    0.0, min(self.backoff_max_s, self.backoff_first_s * 2 ** min(number, 30))
                )
                left_s = begun + self.total_s - time.monotonic() - pause_s
                if number + 1 >= self.attempts_max or left_s <= 0:
                    raise self._locked(error, number + 1, time.monotonic() - begun) from error
            if on_locked is not None:
                on_locked()
            time.sleep(pause_s)
        raise AssertionError  # count() has no end

    def _locked(self, error: Exception, attempts: int, waited_s: float) -> PalaceLockedError:
        held = "its lock file" if isinstance(error, BlockingIOError) else "SQLITE_BUSY"
        name = getattr(error, "sqlite_errorname", held)
        times = "once" if attempts == 1 else f"{attempts} times"
        return PalaceLockedError(
            f"database is locked: {self.path} was tried {times} in {waited_s:.2f} s and another "
            f"connection was always in the way ({name}), of this process or of another; nothing "
            "was written: try again, or end what holds it"
        )


def polled(attempt: Callable[[], T], wait_s: float) -> T:
    """Make an attempt that waits for nothing until no lock stands in its way, for so long at most.

    This is what SQLite does inside a wait, but between two attempts nothing is held.
    """
    ends = time.monotonic() + wait_s
    pause_s = _POLL_FIRST_S
    while True:
        try:
            return attempt()
        except sqlite3.OperationalError as error:
            left_s = ends - time.monotonic()
            if left_s <= 0 or not is_lock_error(error):
                raise
        time.sleep(min(pause_s, left_s))
        pause_s = min(2 * pause_s, _POLL_MAX_S)


def transaction(db: sqlite3.Connection, begin: str, work: Callable[[], T]) -> T:
    """Run `work` between `begin` and COMMIT; whatever goes wrong, no transaction stays open."""
    committing = False
    try:
        _begin(db, begin)
        result = work()
        committing = True
        db.execute("COMMIT")
    except BaseException as error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        elif committing and is_lock_error(error):
            raise PalaceLockedError(
                f"database is locked: the commit failed ({error}) and left no transaction open, so "
                "whether it was written is unknown: read before you write it again",
                effect="unknown",
            ) from error
        raise
    return result


def _begin(db: sqlite3.Connection, begin: str) -> None:
    """Wait as long as busy_timeout says, in slices: nothing has been read yet, so that is safe."""
    wait_ms = int(db.execute("PRAGMA busy_timeout").fetchone()[0])
    ends = time.monotonic() + wait_ms / 1000
    while True:
        left_ms = max(0, round(1000 * (ends - time.monotonic())))
        db.execute(f"PRAGMA busy_timeout={min(left_ms, _SLICE_MS)}")
        try:
            db.execute(begin)
            break
        except sqlite3.OperationalError as error:
            if left_ms <= _SLICE_MS or not is_lock_error(error):
                raise
    db.execute(f"PRAGMA busy_timeout={wait_ms}")


def opened(
    path: Path,
    patience: Patience,
    set_up: Callable[[sqlite3.Connection], None],
    *,
    any_thread: bool,
    on_locked: Callable[[], None] | None,
    refusal: Callable[[Exception], PalaceError],
) -> sqlite3.Connection:
    """Return a connection to a file, made if it is new; nothing stays open on an error.

    `refusal` makes the error for what the system or SQLite says of a file that cannot be used.
    """
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(path, isolation_level=None, check_same_thread=not any_thread)
            stack.callback(db.close)
            patience.run(db, lambda: set_up(db), on_locked)
        except PalaceError:
            raise
        except (OSError, sqlite3.Error) as error:
            raise refusal(error) from error
        stack.pop_all()
    return db


def switch_to_wal(
    db: sqlite3.Connection, path: Path, refusal: Callable[[str], PalaceError]
) -> None:
    """Let a file be written ahead, or raise what `refusal` makes of the sentence that says why."""
    mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise refusal(
            f"{path} cannot be switched to WAL, it stays {mode}: put the palace on a local disk"
        )


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Hold an exclusive flock on the file, or raise BlockingIOError at once if a peer has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)  # gives the lock back; the file stays, or a peer could lock a ghost
