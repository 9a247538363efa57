"""One connection to the memory file, one lock around it: what server, threads and sync share (S4).

* Any thread of the process may call. The lock is re-entrant: a write inside a write is part of it.
* `write` is one transaction that takes SQLite's lock when it begins; it is run again, with a
  bounded and jittered backoff, while another process is in the way. `transaction` is the same for
  a block, which cannot be run again, so only its beginning is. While either waits for another
  process, other threads have the connection: who only reads waits for nobody. Whatever goes wrong
  in either, no transaction stays open.
* A file that was removed or replaced meanwhile is opened anew before a call, never written on into.
* With its fixes switched off it is what S4 reported: a connection for each user of the file, bound
  to the thread that opened it, implicit transactions that an exception leaves open, one wait of
  5 s, a rollback journal, a schema changed statement by statement.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar, final

from palace_store.errors import ForkedStoreError
from palace_store.fixes import Fixes
from palace_store.local.opening import opened_file
from palace_store.local.schema import MemoryFileError
from palace_store.open_file import OpenFile, damage_told
from palace_store.sqlite_lock import (
    BACKOFF_FIRST_S,
    BACKOFF_MAX_S,
    SETUP_BACKOFF_MAX_S,
    PalaceLockedError,
    Patience,
    polled,
    transaction,
)

FILE = "memories.sqlite3"
BUSY_S = 5.0  # what Python's sqlite3 waits by itself, and so what was found
RETRY_TOTAL_S = 60.0  # our choice: as long as the knowledge graph waits inside SQLite
RETRY_ATTEMPTS_MAX = 20  # our choice: a busy timeout each, so that the seconds decide

T = TypeVar("T")
Values = Mapping[str, Any] | Sequence[Any]


@final
class LocalConnection:
    """An open memory file.

    `on_locked` is called each time a lock will be tried again, `on_step` before each statement of a
    migration; neither may call the store. Raises `PalaceLockedError` where a peer does not let go,
    `MemoryFileError` for a file or folder that cannot hold memories.
    """

    def __init__(
        self,
        palace: Path,
        fixes: Fixes,
        *,
        time_scale: float = 1.0,
        rng: random.Random | None = None,
        on_locked: Callable[[], None] | None = None,
        on_step: Callable[[int], None] = lambda _done: None,
    ) -> None:
        self.path = palace / FILE
        self.fixes = fixes
        self.time_scale = time_scale
        self._on_locked = on_locked
        self._on_step = on_step
        self._rng = rng or random.Random()  # noqa: S311  (jitter, no secret)
        self._immediate = fixes.has("local_transaction")
        retry = fixes.has("local_retry")
        self._patience = Patience(
            self.path,
            busy_s=time_scale * BUSY_S,
            total_s=time_scale * (RETRY_TOTAL_S if retry else BUSY_S),
            attempts_max=RETRY_ATTEMPTS_MAX if retry else 1,
            backoff_first_s=time_scale * BACKOFF_FIRST_S,
            backoff_max_s=time_scale * BACKOFF_MAX_S,
            rng=self._rng,
        )
        self._lock = threading.RLock()
        self._depth = 0  # of transactions of the thread that holds the lock
        self._pid = os.getpid()
        self._db: sqlite3.Connection | None = self._open()
        self._opened = OpenFile(self.path)

    def for_sync(self) -> LocalConnection:
        """Return what the sync engine is to use: this very connection, or one of its own."""
        if self.fixes.has("local_one_connection"):
            return self
        return LocalConnection(
            self.path.parent, self.fixes, time_scale=self.time_scale, rng=self._rng
        )

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in one transaction; it may be run several times, so it must only use it."""
        with self._alone():
            inside = self._depth > 0
            if inside or not self._immediate:
                with self._turn() as db:
                    if inside:
                        return work(db)
                    return self._patience.run(db, lambda: self._as_found(db, work), self._on_locked)

        def attempt(busy_s: float) -> T:
            return polled(lambda: self._written(work, busy_s), busy_s)

        return self._patience.run_each(attempt, self._on_locked)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold one transaction for a block: committed at its end, undone by an exception."""
        with ExitStack() as held:
            db = held.enter_context(self._turn())
            if self._depth:
                yield db
                return
            if self._immediate:
                held.close()
                db = self._patience.run_each(
                    lambda busy_s: polled(lambda: self._begun(held, busy_s), busy_s),
                    self._on_locked,
                )
            else:
                self._patience.run(db, lambda: self._begin_as_found(db), self._on_locked)
            self._depth += 1
            try:
                yield db
                self._patience.run(db, lambda: db.execute("COMMIT"), self._on_locked)
            finally:
                self._depth -= 1
                if self._immediate and db.in_transaction:
                    db.execute("ROLLBACK")

    def read(self, query: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """Return the rows of one query."""
        with self._turn() as db:
            return self._patience.run(
                db, lambda: db.execute(query, values).fetchall(), self._on_locked
            )

    def close(self) -> None:
        """Close; twice does no harm. The last to close a file folds its log."""
        if self._db is None or self._pid != os.getpid():
            return
        with self._alone():
            if self._db is not None:  # no other thread was faster
                self._db.close()
                self._db = None

    def _written(self, work: Callable[[sqlite3.Connection], T], busy_s: float) -> T:
        """Do a write at once or not at all; only what follows its beginning waits inside SQLite."""

        def counted(db: sqlite3.Connection) -> T:
            db.execute(f"PRAGMA busy_timeout={round(1000 * busy_s)}")
            self._depth += 1
            try:
                return work(db)
            finally:
                self._depth -= 1

        with self._turn() as db:
            db.execute("PRAGMA busy_timeout=0")
            return transaction(db, "BEGIN IMMEDIATE", lambda: counted(db))

    def _begun(self, held: ExitStack, busy_s: float) -> sqlite3.Connection:
        """Begin a transaction at once or not at all; then `held` keeps other threads out."""
        with ExitStack() as turn:
            db = turn.enter_context(self._turn())
            db.execute("PRAGMA busy_timeout=0")
            db.execute("BEGIN IMMEDIATE")
            db.execute(f"PRAGMA busy_timeout={round(1000 * busy_s)}")
            held.push(turn.pop_all())
            return db

    def _as_found(self, db: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
        self._depth += 1
        try:
            self._begin_as_found(db)
            result = work(db)
            db.execute("COMMIT")
            return result
        finally:
            self._depth -= 1

    def _begin_as_found(self, db: sqlite3.Connection) -> None:
        if not db.in_transaction:  # as sqlite3 does by itself: one that was left open goes on
            db.execute("BEGIN")

    def _current(self) -> sqlite3.Connection:
        """Return a connection to the file at the path; a transaction keeps the one it has."""
        if self._db is None:
            raise MemoryFileError(f"the store of {self.path} is closed: open a new LocalStore")
        if not self._db.in_transaction and self._opened.gone():
            before, self._db = self._db, self._open()
            self._opened = OpenFile(self.path)
            before.close()
        return self._db

    @contextmanager
    def _turn(self) -> Iterator[sqlite3.Connection]:
        with self._alone(), damage_told(self.path, MemoryFileError):
            yield self._current()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self._pid != os.getpid():
            raise ForkedStoreError(
                f"this store of {self.path} was opened by process {self._pid}, before a fork: "
                "open a new LocalStore in the child"
            )
        # Whoever is before us is bounded as well, so a long queue is the only way to get here.
        wait_s = self._patience.total_s
        if not self._lock.acquire(timeout=wait_s):
            raise PalaceLockedError(
                f"database is locked: other threads of this process kept {self.path} busy for "
                f"{wait_s:.2f} s; nothing was written: try again"
            )
        try:
            yield
        finally:
            self._lock.release()

    def _open(self) -> sqlite3.Connection:
        return opened_file(
            self.path,
            self.fixes,
            self._patience,
            setup_pause_s=self.time_scale * SETUP_BACKOFF_MAX_S,
            on_locked=self._on_locked,
            on_step=self._on_step,
        )
