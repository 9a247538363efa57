"""One connection to the knowledge graph: one call at a time, and a clean end.

* Any thread of the process may call; callers take turns, each for a bounded time. After a fork
  the connection is refused, because SQLite does not survive one.
* A file that was removed or replaced meanwhile is opened anew before a call, never written on into.
* Reads and writes are tried again as `Patience` allows; a write is one transaction.
* A clean end folds the log into the file. The handler for SIGTERM is opt-in.
"""

from __future__ import annotations

import atexit
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from palace_store.open_file import OpenFile, damage_told
from palace_store.sqlite_lock import PalaceLockedError, transaction
from palace_store.triple_file import GraphFile, KnowledgeError

T = TypeVar("T")


class GraphConnection:
    """An open knowledge graph. `on_locked` is called each time a lock will be tried again."""

    def __init__(self, file: GraphFile, on_locked: Callable[[], None] | None) -> None:
        self.file = file
        self.on_locked = on_locked
        self._begin = "BEGIN IMMEDIATE" if file.fixes.has("kg_immediate") else "BEGIN"
        self._gate = threading.Lock()
        self._inside = 0  # the thread whose turn it is
        self._pid = os.getpid()
        self._previous: Callable[[int, FrameType | None], object] | int | None = None
        self._db: sqlite3.Connection | None = file.open(on_locked)
        self._opened = OpenFile(file.path)

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in one transaction; it may be run several times, so it must only use it."""
        with self._turn() as db:
            self.file.make_room(db)
            return self.file.patience.run(
                db, lambda: transaction(db, self._begin, lambda: work(db)), self.on_locked
            )

    def read(self, query: str, values: Mapping[str, str]) -> list[tuple[Any, ...]]:
        """Return the rows of one query."""
        with self._turn() as db:
            return self.file.patience.run(
                db, lambda: db.execute(query, values).fetchall(), self.on_locked
            )

    def close(self) -> None:
        """Fold the log into the file as far as peers allow, and close; twice does no harm."""
        if self._db is None or self._pid != os.getpid():
            return
        with self._alone():
            if self._db is not None:  # no other thread was faster
                if not self._opened.gone():
                    self.file.fold(self._db)
                self._db.close()
                self._db = None
        atexit.unregister(self.close)
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGTERM) == self._on_sigterm:
            signal.signal(signal.SIGTERM, self._previous)

    def install_shutdown_handler(self) -> bool:
        """Close cleanly when the process exits or is sent SIGTERM; call it in the main thread.

        Opt-in, since a library must not take signals over by itself. A handler that was there
        before is called afterwards; where there was none, the process still ends by SIGTERM, and
        a call that is under way in the main thread is undone: it was never answered.
        Returns False, and does nothing, with the fix kg_clean_shutdown switched off.
        """
        if not self.file.fixes.has("kg_clean_shutdown"):
            return False
        previous = signal.getsignal(signal.SIGTERM)
        if previous is None or threading.current_thread() is not threading.main_thread():
            raise KnowledgeError(
                "the shutdown handler can be installed in the main thread only, and where no C "
                "code has taken SIGTERM: call it there, or call close() yourself"
            )
        if self._previous is None:
            self._previous = previous
            atexit.register(self.close)
            signal.signal(signal.SIGTERM, self._on_sigterm)
        return True

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        ends = self._previous == signal.SIG_DFL
        # In mid-call of this very thread only if that call never goes on.
        ours = self._inside == threading.get_ident()
        if self._pid == os.getpid() and (
            ends if ours else self._gate.acquire(timeout=self.file.fold_s)
        ):
            try:
                if self._db is not None:
                    self.file.fold(self._db)
                    if ends:
                        self._db.close()
                        self._db = None
            finally:
                if not ours:
                    self._gate.release()
        if callable(self._previous):
            self._previous(number, frame)
        elif ends:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _current(self) -> sqlite3.Connection:
        """Return the connection to the file that is at the path now."""
        if self._db is None:
            raise KnowledgeError(f"the store of {self.file.path} is closed: open a new TripleStore")
        if self._opened.gone():
            before, self._db = self._db, self.file.open(self.on_locked)
            self._opened = OpenFile(self.file.path)
            before.close()
        return self._db

    @contextmanager
    def _turn(self) -> Iterator[sqlite3.Connection]:
        with self._alone(), damage_told(self.file.path, KnowledgeError):
            yield self._current()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self._pid != os.getpid():
            raise KnowledgeError(
                f"this store of {self.file.path} was opened by process {self._pid}, before a fork: "
                "open a new TripleStore in the child"
            )
        if self._inside == threading.get_ident():
            raise KnowledgeError("a hook must not call the store whose call it is part of")
        # Whoever is before us is bounded as well, so a long queue is the only way to get here.
        wait_s = self.file.patience.total_s
        if not self._gate.acquire(timeout=wait_s):
            raise PalaceLockedError(
                f"database is locked: other threads of this process kept {self.file.path} busy for "
                f"{wait_s:.2f} s; nothing was written: try again"
            )
        self._inside = threading.get_ident()
        try:
            yield
        finally:
            self._inside = 0
            self._gate.release()
