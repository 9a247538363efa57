"""The sync engine: keeps a `LocalStore` and a remote alike, in a thread of its own (S4).

    engine = SyncEngine(store, url, key="..."); engine.start(); ...; engine.stop()

* The rounds and their rules are in `rounds`: everything is compared at the start and about every 10
  minutes, what changed every `INTERVAL_S`.
* `key` may be a function, so that a corrected key is found where it is kept.
* `recall` answers within `recall_timeout_s`; no other call of the store ever waits for the remote.
* `sync`, `pull` and `push` do one round now, in the calling thread, one at a time. What goes wrong
  is data (`Round.problems`), never an exception; it is in the log as well when it changes, and what
  nobody foresaw with its traceback; the thread goes on.
* Processes that share a file may each have an engine: what is told twice is told under one key.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from typing import final

from palace_store.errors import PalaceInputError
from palace_store.local.connection import LocalConnection
from palace_store.local.store import LocalStore
from palace_store.sync import ledger
from palace_store.sync.recall import RECALL_TIMEOUT_S, Bounded, Gone, Recall, together
from palace_store.sync.remote import Remote, RemoteDeniedError, RemoteError
from palace_store.sync.report import Parked, Round, State, Status, state_of
from palace_store.sync.rounds import RESYNC_S, Rounds
from palace_store.sync.rows import Row
from palace_store.sync.shown import Shown

INTERVAL_S = 30.0  # our choice
_LOG = logging.getLogger(__name__)


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
        for name, time_s in (("interval_s", interval_s), ("recall_timeout_s", recall_timeout_s)):
            if not time_s > 0:
                raise PalaceInputError(
                    f"{name} is {time_s!r:.40}: pass a number of seconds above 0"
                )
        self._store = store
        self._may_sync = may_sync
        self._fixes = store.fixes
        self._key = key
        self._interval_s = min(interval_s * time_scale, threading.TIMEOUT_MAX)
        self._remote = Remote(url, time_scale=time_scale)
        bound_s = min(recall_timeout_s * time_scale, threading.TIMEOUT_MAX)
        self._patient = not self._fixes.has("sync_recall_timeout")
        self._recalls: Bounded[list[Row]] = Bounded(None if self._patient else bound_s)
        self._shown = Shown()
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
        self._logged: frozenset[str] = frozenset()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    # -- rounds ----------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to sync in a thread of its own; the first round compares everything.

        Raises `PalaceInputError` once the engine was stopped.
        """
        if self._stop.is_set():
            raise PalaceInputError(
                f"this engine for {self._remote.url} was stopped: make a new SyncEngine"
            )
        if self._thread is None:
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
        return self._done(lambda: self._rounds.both(full=full))

    def pull(self, *, full: bool = False) -> Round:
        """Only take over what the remote has."""
        return self._done(lambda: self._rounds.pull(full=full))

    def push(self) -> Round:
        """Only tell the remote what is due."""
        return self._done(self._rounds.push)

    # -- answers ---------------------------------------------------------------------------

    def recall(self, query: str, *, namespace: str | None = None, limit: int = 10) -> Recall:
        """Return what this machine and the remote find, within the bound."""
        before = Gone.now(self._store.connection)
        here = self._store.recall(query, namespace=namespace, limit=limit)
        last = self._rounds.last
        if last is not None and last.denied and self._fixes.has("sync_auth"):
            note = "only this machine was asked: the remote refuses the key, or cannot be given it"
            return Recall(tuple(here), complete=False, note=f"{note} ({last.problems[0]})")

        def ask() -> list[Row]:
            key = self._key_now()
            found = self._remote.recall(query, namespace, limit, key, patient=self._patient)
            return before.left_of(found)  # the remote may have been told in the meantime

        def answered() -> list[Row] | None:
            question = (query, namespace, limit, before.deletions, before.generation)
            found = self._recalls.ask(question, ask)
            return None if found is None else Gone.now(self._store.connection).left_of(found)

        def shown(rows: list[Row]) -> None:
            self._shown.remember(rows, before.generation)

        return together(here, answered, query=query, limit=limit, shown=shown)

    def delete(self, memory_id: str) -> bool:
        """Delete a memory of this machine, or one that only the remote has and a recall showed.

        It is gone here at once and there soon; tells whether there was one.
        """
        return self._shown.delete(self._store, memory_id)

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
        state, reason = self.standing()
        local, pending = counts["local"] or 0, counts["pending"] or 0
        return Status(state, reason, local, counts["remote"], pending, self.parked())

    def standing(self) -> tuple[State, str]:
        """Return state and reason as `status` has them, at once: the remote is not asked."""
        connection, problems = self._store.connection, self._rounds.problems
        if not problems and (orphans := ledger.orphans(connection)):
            problems = (f"{orphans} memories wait for a whole list of {self._remote.url}",)
        alike = not (problems or ledger.pending(connection) or ledger.parked(connection))
        return state_of(self._rounds.last, alike=alike), problems[0] if problems else ""

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
                self._done(self._sync_if_it_may)
                self._stop.wait(self._interval_s)
        finally:
            self._close_own()

    def _sync_if_it_may(self) -> Round:
        return self._rounds.both(full=None) if self._may_sync() else Round()

    def _done(self, work: Callable[[], Round]) -> Round:
        """Return what a round did; one that ends in an exception is one that had a problem."""
        try:
            done = work()
        except Exception as error:  # noqa: BLE001  (it is told: by the round, and in the log)
            _LOG.exception("a round with %s ended", self._remote.url)
            said = f"a round with {self._remote.url} ended by {type(error).__name__}: {error}"
            done = self._rounds.last = Round(problems=(said,))
        self._log()
        return done

    def _log(self) -> None:
        """Tell in the log what is wrong, and that nothing is any more, once each."""
        problems = self._rounds.problems
        before, self._logged = self._logged, frozenset(problems)
        if self._logged == before:
            return
        said = problems[0] if problems else "nothing is wrong any more"
        more = f" (and {len(problems) - 1} more)" if problems[1:] else ""
        _LOG.warning("sync with %s: %s%s", self._remote.url, said, more)

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
        except Exception as error:  # whatever the function of somebody else raises
            raise RemoteDeniedError(
                f"the key for {self._remote.url} cannot be read ({type(error).__name__}: {error})"
            ) from error
