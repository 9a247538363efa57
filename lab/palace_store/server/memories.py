"""The memories a server works on, and the engine that keeps them and a remote alike.

Opened by the first call that needs them, so that a palace nobody keeps memories in has no file for
them; where there is a remote, when the server starts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import final

from palace_store.fixes import Fixes
from palace_store.local import LocalStore
from palace_store.local.connection import FILE
from palace_store.sync import INTERVAL_S, RECALL_TIMEOUT_S, Parked, Recall, SyncEngine


@final
class Memories:
    """One palace's memories, for every thread of the server.

    `remote` is the address of a remote; its key is what `key_file` holds, read for every request,
    so that a corrected key is used at once. Without a file, or with nothing in it, no key is sent.
    Nothing is synced while `may_sync` says no. Raises what `LocalStore` raises.
    """

    def __init__(
        self,
        palace: Path,
        *,
        fixes: Fixes,
        remote: str = "",
        key_file: Path | None = None,
        recall_timeout_s: float = RECALL_TIMEOUT_S,
        interval_s: float = INTERVAL_S,
        may_sync: Callable[[], bool] = lambda: True,
    ) -> None:
        self._palace = palace
        self._fixes = fixes
        self._remote = remote
        self._key_file = key_file
        self._recall_timeout_s = recall_timeout_s
        self._interval_s = interval_s
        self._may_sync = may_sync
        self._opening = threading.Lock()
        self._store: LocalStore | None = None
        self._engine: SyncEngine | None = None

    @property
    def store(self) -> LocalStore:
        """Return the store, opened if it is not; with a remote, syncing begins."""
        with self._opening:
            if self._store is None:
                self._store = LocalStore(self._palace, fixes=self._fixes)
                if self._remote:
                    self._engine = SyncEngine(
                        self._store,
                        self._remote,
                        key=self._key,
                        recall_timeout_s=self._recall_timeout_s,
                        interval_s=self._interval_s,
                        may_sync=self._may_sync,
                    )
                    self._engine.start()
            return self._store

    def open(self) -> None:
        """Open now where there is a remote, so that syncing does not wait for the first call."""
        if self._remote:
            _ = self.store

    def recall(self, query: str, *, namespace: str | None, limit: int) -> Recall:
        """Return what is found here and, within its bound, at the remote."""
        store, engine = self.store, self._engine
        if engine is not None:
            return engine.recall(query, namespace=namespace, limit=limit)
        found = store.recall(query, namespace=namespace, limit=limit)
        return Recall(tuple(found), complete=True)

    def delete(self, memory_id: str) -> bool:
        """Delete a memory, also one that a recall has shown and only the remote has."""
        store, engine = self.store, self._engine
        return store.delete(memory_id) if engine is None else engine.delete(memory_id)

    def count(self) -> dict[str, int | None]:
        """Return counts by where they are; `remote` is None if there is none or it did not say."""
        store, engine = self.store, self._engine
        if engine is not None:
            return engine.memory_count()
        return {"local": store.count(), "remote": None, "pending": 0, "parked": 0}

    def parked(self) -> tuple[Parked, ...]:
        """Return what the remote could not be told and why; nothing if there is no remote."""
        _, engine = self.store, self._engine
        return () if engine is None else engine.parked()

    def retry(self) -> int:
        """Let the remote be told all of that again; return how much it is."""
        _, engine = self.store, self._engine
        return 0 if engine is None else engine.retry_parked()

    def count_here(self) -> int:
        """Return how many memories this palace has, without making a file for them."""
        return self.store.count() if (self._palace / FILE).exists() else 0

    def syncing(self) -> dict[str, str] | None:
        """Return how memories and the remote stand, and why, at once; None without a remote."""
        engine = self._engine
        if engine is None:
            return None
        state, reason = engine.standing()
        return {"state": state, "reason": reason}

    def close(self) -> None:
        """Stop the engine and close the store; what is used again is opened again."""
        with self._opening:
            if self._engine is not None:
                self._engine.stop()
                self._engine = None
            if self._store is not None:
                self._store.close()
                self._store = None

    def _key(self) -> str:
        return "" if self._key_file is None else self._key_file.read_text("utf-8-sig").strip()
