"""Opening the memory file: made, migrated, and switched to WAL where it is not."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from palace_store.fixes import Fixes
from palace_store.local import schema
from palace_store.local.schema import MemoryFileError
from palace_store.sqlite_lock import (
    SETUP_ATTEMPTS_MAX,
    Patience,
    lock_file,
    opened,
    switch_to_wal,
    transaction,
)
from palace_store.state import DIRECTORY


def opened_file(
    path: Path,
    fixes: Fixes,
    patience: Patience,
    *,
    setup_pause_s: float,
    on_locked: Callable[[], None] | None,
    on_step: Callable[[int], None],
) -> sqlite3.Connection:
    """Return a connection to a memory file of the newest schema.

    Processes that set one file up stand in line, with at most `setup_pause_s` between two looks.
    Raises what `connection.LocalConnection` raises.
    """
    serialised = fixes.has("local_migration")
    setting_up = _SettingUp(path, fixes, on_step)
    return opened(
        path,
        replace(
            patience,
            attempts_max=SETUP_ATTEMPTS_MAX if serialised else 1,
            backoff_max_s=setup_pause_s,
        ),
        setting_up.serialised if serialised else setting_up.as_found,
        any_thread=fixes.has("local_any_thread"),
        on_locked=on_locked,
        refusal=lambda error: MemoryFileError(
            f"{path} cannot be used for memories ({error}): the palace must be a folder that this "
            "user may write to; move a file aside that is none"
        ),
    )


@dataclass(frozen=True)
class _SettingUp:
    path: Path
    fixes: Fixes
    on_step: Callable[[int], None]

    def serialised(self, db: sqlite3.Connection) -> None:
        schema.check(db, self.path)  # before the switch, which is a change of the file as well
        if not self._is_done(db):
            with lock_file(self.path.parent / DIRECTORY / "memories.lock"):
                if not self._is_done(db):
                    self._switch(db)
                    transaction(db, "BEGIN IMMEDIATE", lambda: schema.migrate(db, self.on_step))
        db.execute("PRAGMA synchronous = FULL")  # an acknowledged memory survives a power cut

    def as_found(self, db: sqlite3.Connection) -> None:
        schema.check(db, self.path, whole=False)
        self._switch(db)
        schema.migrate(db, self.on_step)
        db.execute("PRAGMA synchronous = FULL")

    def _switch(self, db: sqlite3.Connection) -> None:
        if self.fixes.has("local_wal"):
            switch_to_wal(db, self.path, MemoryFileError)

    def _is_done(self, db: sqlite3.Connection) -> bool:
        mode = db.execute("PRAGMA journal_mode").fetchone()[0]
        wanted = mode == "wal" or not self.fixes.has("local_wal")
        return bool(wanted) and schema.version_of(db) >= schema.VERSION
