"""One process's working relation with one palace: every operation is the same short story.

    take the palace -> refuse if our chromadb is too old -> mend what a dead writer left ->
    reopen if a peer has written -> check the input against what is there ->
    note that a change is under way -> change -> say it is over

Rules:
- An error in the middle of a change means *unknown*: the note stays, and the next operation, here
  or in a peer, rebuilds the index from the log before anything is read. What chromadb would refuse
  is therefore refused before the note is made (`validation`).
- Reading can write: chromadb flushes its index when a client catches up with the log. So a client
  catches up alone and under the same note; reads after that are shared.
- Thread-safe, also between several stores of one process; must not be used across a fork.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from palace_store import linking, migrations, readback, recovery, trimming
from palace_store.anatomy.hnsw_files import PICKLE
from palace_store.client import Client, Seat, open_client, running_version, seat_of
from palace_store.examination import examine, foreign_touch, left_behind
from palace_store.fixes import Fixes
from palace_store.freshness import Freshness
from palace_store.lease import Lease
from palace_store.quarantine import quarantine_before_open, thin_out
from palace_store.replacements import replaced_in_log as replaced
from palace_store.retention import make_database
from palace_store.state import DIRECTORY, State, read_state, sweep, write_state
from palace_store.version_guard import refuse_if_older

#: Fixes that need the shared state file; without any of them nothing of ours is kept in a palace.
_STATEFUL: tuple[str, ...] = ("lease", "generation", "flush_mark", "retention", "read_back")
_STATEFUL += ("version_guard", "watermark_heal", "foreign_check")


class Session:
    """A client of one palace and the rules under which it may be used."""

    def __init__(
        self, palace: Path, fixes: Fixes, *, lease_timeout_s: float, stale_seconds: float
    ) -> None:
        self.palace = palace
        self.fixes = fixes
        self.reopened = 0  # how often a peer's change made us open the client again
        self._lease = Lease(palace, timeout_s=lease_timeout_s)
        self._stale_seconds = stale_seconds
        self._stateful = any(fixes.variant(name) == "on" for name in _STATEFUL)
        self._freshness = Freshness(palace, fixes.variant("generation"))
        self._rebuilds = fixes.variant("quarantine") == "on"

    def close(self) -> None:
        """Close the client; the next operation opens it again."""
        with self._seat() as seat:
            client = seat.client
            seat.leave()
            if client is not None:
                left_behind(self.palace, self.fixes)

    @contextmanager
    def hold(self, term_s: float) -> Iterator[None]:
        """Keep the palace over several operations; see `lease` for what ends it."""
        kept = self._lease.hold(term_s) if self.fixes.has("lease") else nullcontext()
        with self._seat(), kept:
            yield

    @contextmanager
    def changing(
        self,
        collection: str,
        check: Callable[[Client], None] | None = None,
        *,
        replaces: Sequence[str] = (),
    ) -> Iterator[Client]:
        """Yield the client for one change of one collection.

        `check` may refuse the change by raising; nothing is written before it has returned.
        `replaces` are the ids of drawers that may be there and get another vector.
        """
        with self._seat() as seat, self._exclusive() as found:
            state, client = self._settle(seat, found)
            if check is not None:
                check(client)
            with self._noted(seat, state, collection) as noted:
                if self.fixes.has("relink"):
                    linking.before(seat, collection, replaces)
                yield client
                linking.after(seat, collection)
            seat.caught_up.add(collection)
            self._publish(seat, noted, changed=True)

    @contextmanager
    def reading(self, collection: str | None) -> Iterator[Client]:
        """Yield the client for one read of one collection (None: of none in particular)."""
        with self._seat() as seat:
            with self._shared() as state:
                self._guard(state)
                if self._fresh(seat, state, collection):
                    yield seat.client
                    return
            with self._exclusive() as found:
                state, client = self._settle(seat, found)
                if collection is not None and collection not in seat.caught_up:
                    self._catch_up(seat, state, collection)
                yield client

    @contextmanager
    def apart(self, *, changes: bool = False) -> Iterator[State]:
        """Be alone and without a client, for Python's SQLite; `changes` makes every peer reopen."""
        with self._seat() as seat, self._exclusive() as found:
            state, _ = self._settle(seat, found)
            seat.leave()
            if changes:
                self._save(state.changed(generation=state.next_generation()), durable=True)
            yield state

    def _fresh(self, seat: Seat, state: State, collection: str | None) -> bool:
        if seat.client is None or state.open_flush:
            return False
        if collection is not None and collection not in seat.caught_up:
            return False
        return not self._freshness.missed(seat, state.generation)

    def _settle(self, seat: Seat, state: State) -> tuple[State, Client]:
        """Make the palace and our client fit to be used; runs alone in the palace."""
        self._guard(state)
        missed = self._freshness.missed(seat, state.generation)
        foreign = seat.client is not None and foreign_touch(self.palace, self.fixes, state)
        behind = missed or foreign or bool(state.open_flush)
        if seat.client is not None and (behind or self._trims(state)):
            seat.leave()
            self.reopened += behind
        if seat.client is None:
            state = self._prepare(seat, state)
            seat.lossy = state.lossy or seat.doubtful
            seat.client = open_client(self.palace)
            if self.fixes.has("read_back"):
                readback.let_errors_out()
            self._freshness.opened(seat, state.generation)
            if state.open_flush and self._rebuilds:
                state = self._rebuild_ended(seat, state)
        return state, seat.client

    def _prepare(self, seat: Seat, found: State) -> State:
        """Do what needs Python's SQLite, which must never meet a live client of this process."""
        state = found
        made = self._stateful and make_database(self.palace)
        if self.fixes.has("version_guard"):
            state = migrations.checked(self.palace, state, made=made)
        quarantine_before_open(self.palace, self.fixes, self._stale_seconds)
        state = examine(self.palace, self.fixes, seat, state)
        if not state.open_flush and self._trims(state):
            state = state.changed(trim_at=trimming.trim(self.palace))
        if state != found:
            if self.fixes.has("lease"):
                sweep(self.palace)
            self._save(state, durable=True)
        if state.open_flush and self._rebuilds:
            recovery.rebuild(
                self.palace,
                state.open_flush,
                retained=state.retained,
                salvage=self.fixes.has("salvage"),
            )
        seat.replaced = replaced(self.palace) if self.fixes.has("relink") else {}
        return state

    def _trims(self, state: State) -> bool:
        wanted = self.fixes.has("trim") and self.fixes.has("retention") and state.retained
        return wanted and trimming.due(self.palace, state.trim_at)

    def _rebuild_ended(self, seat: Seat, state: State) -> State:
        """Let the index read the whole log; only then is the note of the dead writer taken back."""
        try:
            recovery.catch_up(seat.client, state.open_flush)
        except BaseException:
            seat.leave()
            raise
        published = self._publish(seat, state, changed=True)
        thin_out(self.palace)
        return published

    def _catch_up(self, seat: Seat, state: State, collection: str) -> None:
        before = readback.fingerprint(self.palace, PICKLE)
        with self._noted(seat, state, collection) as noted:
            recovery.catch_up(seat.client, (collection,))
            written = linking.after(seat, collection)
        seat.caught_up.add(collection)
        written = written or readback.fingerprint(self.palace, PICKLE) != before
        self._publish(seat, noted, changed=written)

    def _guard(self, state: State) -> None:
        if self.fixes.has("version_guard"):
            refuse_if_older(running_version(), state.chromadb, str(self.palace))

    @contextmanager
    def _noted(self, seat: Seat, state: State, collection: str) -> Iterator[State]:
        """Keep a durable note while the caller works; an error leaves it standing."""
        noted = state
        if self.fixes.has("flush_mark"):
            noted = state.changed(open_flush=(collection,))
            self._save(noted, durable=True)
        try:
            yield noted
        except BaseException:
            seat.leave()  # what the client holds in memory may differ from what is on disk
            raise

    def _publish(self, seat: Seat, state: State, *, changed: bool) -> State:
        generation = state.next_generation() if changed else state.generation
        left = readback.fingerprint(self.palace) if self.fixes.has("foreign_check") else None
        published = state.changed(open_flush=(), generation=generation, left=left)
        if changed and self.fixes.has("lease"):
            published = published.changed(turn=self._lease.turn(published))
        self._save(published, durable=False)
        self._freshness.changed(seat, generation)
        return published

    @contextmanager
    def _seat(self) -> Iterator[Seat]:
        """Keep this process's other threads and stores out, waiting as long as for a peer."""
        seat = seat_of(self.palace)
        if not seat.lock.acquire(timeout=self._lease.timeout_s):
            raise self._lease.timed_out(seat.process)
        try:
            yield seat
        finally:
            seat.lock.release()

    def _exclusive(self) -> AbstractContextManager[State]:
        return self._lease.exclusive() if self.fixes.has("lease") else self._unlocked()

    def _shared(self) -> AbstractContextManager[State]:
        return self._lease.shared() if self.fixes.has("lease") else self._unlocked()

    @contextmanager
    def _unlocked(self) -> Iterator[State]:
        if self._stateful:
            (self.palace / DIRECTORY).mkdir(parents=True, exist_ok=True)
            yield read_state(self.palace)
        else:
            yield State()

    def _save(self, state: State, *, durable: bool) -> None:
        if self._stateful:
            write_state(self.palace, state, durable=durable)
