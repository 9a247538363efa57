"""The sync engine: keeps a `LocalStore` and a remote alike, in a thread of its own (S4).

    engine = SyncEngine(store, url, key="..."); engine.start(); ...; engine.stop()

* The rounds and their rules are in `rounds`: everything is compared at the start and about every 10
  minutes, what changed every `INTERVAL_S`.
* `key` may be a function, so that a corrected key is found where it is kept.
* `recall` answers within `recall_timeout_s`; no other call of the store ever waits for the remote.
* `sync`, `pull` and `push` do one round now, in the calling thread, one at a time. What goes wrong
  is data (`Round.problems`), never an exception.
* Processes that share a file may each have an engine: what is told twice is told under one key.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import final

from palace_store.local.connection import LocalConnection
from palace_store.local.memory import Memory
from palace_store.local.store import LocalStore
from palace_store.sync import ledger
from palace_store.sync.recall import RECALL_TIMEOUT_S, Bounded, Recall, together
from palace_store.sync.remote import (
    Remote,
    RemoteDeniedError,
    RemoteError,
)
from palace_store.sync.report import Parked, Round, State, Status
from palace_store.sync.rounds import RESYNC_S, Rounds

INTERVAL_S = 30.0  # our choice


@final
class SyncEngine:
    """Keeps one store and one remote alike. The fixes are the store's.

    `time_scale` multiplies every time. `seed` fixes when "about every 10 minutes" is. The thread
    asks `may_sync` before each round and passes over it for a False.
    """

    def __init__(
        self,
        store: LocalStore,
        url: str,
        *,
        key: str | Callable[[], str],
        time_scale: float = 1.0,
        interval_s: float = INTERVAL_S,
        recall_timeout_s: float = RECALL_TIMEOUT_S,
        seed: int | None = None,
        may_sync: Callable[[], bool] = lambda: True,
    ) -> None:
        self._store = store
        self._may_sync = may_sync
        self._fixes = store.fixes
        self._key = key
        self._interval_s = interval_s * time_scale
        self._remote = Remote(url, time_scale=time_scale)
        bound_s = recall_timeout_s * time_scale
        self._patient = not self._fixes.has("sync_recall_timeout")
        self._recalls: Bounded[list[Memory]] = Bounded(None if self._patient else bound_s)
        self._counts: Bounded[int] = Bounded(bound_s)
        self._connection: LocalConnection | None = None
        self._rounds = Rounds(
            self._own,
            self._remote,
            self._fixes,
            key=self._key_now,
            resync_s=RESYNC_S * time_scale,
            rng=random.Random(seed),  # noqa: S311  (a pause, no secret)
        )
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    # -- rounds ----------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to sync in a thread of its own; the first round compares everything."""
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name="palace-sync", daemon=True)
            self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Stop; tell whether the round under way ended in that time. Closes the connections."""
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(timeout_s)
        else:
            self._close_own()
        self._remote.close()
        return thread is None or not thread.is_alive()

    def sync(self, *, full: bool | None = None) -> Round:
        """Do one round now; without `full` everything is compared when that is due."""
        return self._rounds.both(full=full)

    def pull(self, *, full: bool = False) -> Round:
        """Only take over what the remote has."""
        return self._rounds.pull(full=full)

    def push(self) -> Round:
        """Only tell the remote what is due."""
        return self._rounds.push()

    # -- answers ---------------------------------------------------------------------------

    def recall(self, query: str, *, namespace: str | None = None, limit: int = 10) -> Recall:
        """Return what this machine and the remote find, within the bound."""
        here = self._store.recall(query, namespace=namespace, limit=limit)
        if self._rounds.denied and self._fixes.has("sync_auth"):
            note = "only this machine was asked: the remote refuses the key"
            return Recall(tuple(here), complete=False, note=note)

        def ask() -> list[Memory]:
            key = self._key_now()
            return self._remote.recall(query, namespace, limit, key, patient=self._patient)

        question = (query, namespace, limit)
        return together(
            here,
            lambda: self._recalls.ask(question, ask),
            deleted=self._deleted_here,
            limit=limit,
        )

    def memory_count(self) -> dict[str, int | None]:
        """Return counts for a diagnosis; `remote` is None if it did not say."""
        try:
            remote = self._counts.ask("count", lambda: self._remote.count(self._key_now()))
        except RemoteError:
            remote = None
        return {
            "local": self._store.count(),
            "remote": remote,
            "pending": ledger.pending(self._store.connection),
            "parked": len(self.parked()),
        }

    def status(self) -> Status:
        """Return how things stand; asks the remote for its count, within the bound of a recall."""
        counts = self.memory_count()
        pending = counts["pending"] or 0
        parked = self.parked()
        last = self._rounds.last or Round()
        state: State = "in sync"
        if last.denied:
            state = "local only"
        elif self._rounds.last is None:
            state = "not begun"
        elif last.away:
            state = "unreachable"
        elif last.problems or pending or parked:
            state = "behind"
        reason = last.problems[0] if last.problems else ""
        local = counts["local"] or 0
        return Status(state, reason, local, counts["remote"], pending, parked)

    def parked(self) -> tuple[Parked, ...]:
        """Return every operation that was given up, and why."""
        return ledger.parked(self._store.connection)

    def retry_parked(self) -> int:
        """Let everything parked be tried again; returns how many operations that are."""
        return ledger.unpark(self._store.connection)

    # -- parts -----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if self._may_sync():
                    self.sync()
                self._stop.wait(self._interval_s)
        finally:
            self._close_own()

    def _close_own(self) -> None:
        if self._connection is not None and self._connection is not self._store.connection:
            self._connection.close()
        self._connection = None

    def _own(self) -> LocalConnection:
        if self._connection is None:
            self._connection = self._store.connection.for_sync()
        return self._connection

    def _key_now(self) -> str:
        try:
            return self._key if isinstance(self._key, str) else self._key()
        except OSError as error:
            raise RemoteDeniedError(
                f"the key for {self._remote.url} cannot be read ({error})"
            ) from error

    def _deleted_here(self, memory: Memory) -> bool:
        query = "SELECT 1 FROM memories WHERE id = ? AND deleted"
        return bool(self._store.connection.read(query, (memory.id,)))
