"""The file of the knowledge graph: how it is opened, made, switched to WAL, and left behind.

* A new file is switched to WAL and given its schema by one process at a time (a lock file beside
  the palace's other state), and the switch is tried again while a stranger is in a transaction:
  SQLite refuses it at once then, whatever busy_timeout says.
* The schema comes in one transaction together with its number in `user_version`.
* The log is bounded: a write that finds it too long empties it first, and is refused where a reader
  that stays in one transaction makes that impossible. SQLite itself would let it grow for ever.
* A file that is no knowledge graph of ours, or a newer one, is refused and left as it is.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from palace_store.errors import PalaceError
from palace_store.file_shape import Schema, newer_than_known, shape_of
from palace_store.fixes import Fixes
from palace_store.sqlite_lock import (
    BACKOFF_FIRST_S,
    BACKOFF_MAX_S,
    SETUP_ATTEMPTS_MAX,
    SETUP_BACKOFF_MAX_S,
    PalaceLockedError,
    Patience,
    lock_file,
    opened,
    switch_to_wal,
    transaction,
)
from palace_store.state import DIRECTORY

BUSY_FIXED_S = 60.0  # S2's fix
BUSY_REPORTED_S = 10.0  # S2 as found
RETRY_ATTEMPTS_MAX = 8  # our choice: at most about 3 s of pauses in all
RETRY_TOTAL_BUSY_TIMES = 2  # our choice: with retry, a call lasts at most two busy timeouts
AUTOCHECKPOINT_FIXED_PAGES = 200  # our choice, 0.8 MB: a checkpoint stays short on an SD card
AUTOCHECKPOINT_REPORTED_PAGES = 1000  # S2's fix: what SQLite does anyway
LOG_BYTES_MAX = 64 * 1024 * 1024  # S2's fix: what is kept of a log that has once grown longer
FOLD_S = 2.0  # how long whoever empties the log waits for its readers

SCHEMA_VERSION = 1
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS triples (
        id INTEGER PRIMARY KEY, subject TEXT NOT NULL, predicate TEXT NOT NULL,
        object TEXT NOT NULL, valid_from TEXT, ended TEXT, source TEXT)""",
    """CREATE UNIQUE INDEX IF NOT EXISTS triples_open
        ON triples (subject, predicate, object) WHERE ended IS NULL""",
    "CREATE INDEX IF NOT EXISTS triples_subject ON triples (subject)",
    "CREATE INDEX IF NOT EXISTS triples_object ON triples (object)",
    "CREATE TABLE IF NOT EXISTS keys (key TEXT PRIMARY KEY, triple INTEGER NOT NULL) WITHOUT ROWID",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
_TABLES = {
    "triples": frozenset(["id", "subject", "predicate", "object", "valid_from", "ended", "source"]),
    "keys": frozenset({"key", "triple"}),
}
#: What a file of ours has; statement by statement, as found, its tables come before its number.
SCHEMA = Schema({SCHEMA_VERSION: _TABLES}, begun=_TABLES)


class KnowledgeError(PalaceError):
    """The knowledge graph cannot be used as it stands; the sentence says why."""


class GraphFile:
    """The settings of one knowledge graph: its path, its fixes, and how long it waits."""

    def __init__(
        self,
        palace: Path,
        fixes: Fixes,
        *,
        time_scale: float,
        rng: random.Random,
        log_bytes_max: int,
    ) -> None:
        self.path = palace / "knowledge.sqlite3"
        self._log_path = palace / "knowledge.sqlite3-wal"
        self._log_bytes_max = log_bytes_max
        self._lock_path = palace / DIRECTORY / "knowledge.lock"
        self.fixes = fixes
        self.fold_s = time_scale * FOLD_S
        self._scale = time_scale
        busy_s = time_scale * (BUSY_FIXED_S if fixes.has("kg_busy_timeout") else BUSY_REPORTED_S)
        retry = fixes.has("kg_retry")
        #: How long one read or write waits.
        self.patience = Patience(
            self.path,
            busy_s=busy_s,
            total_s=busy_s * (RETRY_TOTAL_BUSY_TIMES if retry else 1),
            attempts_max=RETRY_ATTEMPTS_MAX if retry else 1,
            backoff_first_s=time_scale * BACKOFF_FIRST_S,
            backoff_max_s=time_scale * BACKOFF_MAX_S,
            rng=rng,
        )

    def open(self, on_locked: Callable[[], None] | None) -> sqlite3.Connection:
        """Return a connection to the graph, made if it is new; nothing stays open on an error."""
        serialised = self.fixes.has("kg_wal_setup")
        set_up = self._set_up_serialised if serialised else self._set_up_reported
        patience = replace(
            self.patience,
            total_s=self.patience.busy_s,
            attempts_max=SETUP_ATTEMPTS_MAX if serialised else 1,
            backoff_max_s=self._scale * SETUP_BACKOFF_MAX_S,
        )

        def set_up_and_tune(db: sqlite3.Connection) -> None:
            set_up(db)
            self._tune(db)

        return opened(
            self.path,
            patience,
            set_up_and_tune,
            any_thread=True,  # callers take turns, so that any thread may use it (S4)
            on_locked=on_locked,
            refusal=lambda error: KnowledgeError(
                f"{self.path} cannot be used as a knowledge graph ({error}): the palace must "
                "be a folder that this user may write to; move a file aside that is none"
            ),
        )

    def fold(self, db: sqlite3.Connection) -> None:
        """Move the log into the file and empty it, if no peer is in the way for `FOLD_S`."""
        if not self.fixes.has("kg_clean_shutdown"):
            return
        # What cannot be folded now stays in the log, from where the next opener reads it.
        with suppress(sqlite3.Error):
            if db.in_transaction:
                db.execute("ROLLBACK")
            self._empty_log(db, aside=not self.fixes.is_reported("kg_clean_shutdown"))

    def make_room(self, db: sqlite3.Connection) -> None:
        """Empty a log that has grown too long, or raise `PalaceLockedError`: it is being read."""
        if not self.fixes.has("kg_log_bound") or not self._log_path.exists():
            return
        size = self._log_path.stat().st_size
        if size > self._log_bytes_max and not self._empty_log(db, aside=True):
            raise PalaceLockedError(
                f"database is locked: the log of {self.path} has grown to {size} bytes, and it "
                "cannot be emptied while a process stays in one read; nothing was written: end "
                "the process whose read stays open, or try again when it is done"
            )

    def _empty_log(self, db: sqlite3.Connection, *, aside: bool) -> bool:
        """Tell whether it is empty now. TRUNCATE keeps writers out from beginning to end.

        With `aside` all but the last bit is copied before, while they go on writing.
        """
        db.execute(f"PRAGMA busy_timeout = {round(1000 * self.fold_s)}")
        if aside:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return not db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]

    def _tune(self, db: sqlite3.Connection) -> None:
        db.execute("PRAGMA synchronous = FULL")  # an acknowledged triple survives a power cut
        if not self.fixes.has("kg_autocheckpoint"):
            return
        reported = self.fixes.is_reported("kg_autocheckpoint")
        pages = AUTOCHECKPOINT_REPORTED_PAGES if reported else AUTOCHECKPOINT_FIXED_PAGES
        db.execute(f"PRAGMA wal_autocheckpoint = {pages}")
        db.execute(f"PRAGMA journal_size_limit = {self._log_bytes_max}")

    def _set_up_reported(self, db: sqlite3.Connection) -> None:
        self._check(db)
        db.execute("PRAGMA journal_mode = WAL")
        if _number(db, "user_version") == 0:
            for statement in _SCHEMA:
                db.execute(statement)

    def _set_up_serialised(self, db: sqlite3.Connection) -> None:
        self._check(db)  # before the switch, which is a change of the file as well
        if _is_set_up(db):
            return
        with lock_file(self._lock_path):
            if _is_set_up(db):
                return
            switch_to_wal(db, self.path, KnowledgeError)
            transaction(db, "BEGIN IMMEDIATE", lambda: _create(db))

    def _check(self, db: sqlite3.Connection) -> None:
        shape = shape_of(db)
        if SCHEMA.newer(shape):
            raise KnowledgeError(newer_than_known(self.path, shape.version, SCHEMA.newest))
        if (why := SCHEMA.strange(shape)) is not None:
            raise KnowledgeError(
                f"{self.path} is no knowledge graph of this library, {why}: point to another "
                "palace, or move it aside"
            )


def _create(db: sqlite3.Connection) -> None:
    if _number(db, "user_version") == 0:  # nobody without our lock file was faster
        for statement in _SCHEMA:
            db.execute(statement)


def _is_set_up(db: sqlite3.Connection) -> bool:
    mode = db.execute("PRAGMA journal_mode").fetchone()[0]
    return mode == "wal" and _number(db, "user_version") >= SCHEMA_VERSION


def _number(db: sqlite3.Connection, pragma: str) -> int:
    return int(db.execute(f"PRAGMA {pragma}").fetchone()[0])
