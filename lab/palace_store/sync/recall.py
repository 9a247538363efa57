"""Recall that asks the remote too, and answers within RECALL_TIMEOUT_S whatever the remote does.

* What the remote says in time is put together with what this machine has. What it does not say in
  time is left to its own thread: the answer is what this machine has, and says "still working,
  retry"; whoever asks the same again gets what has come meanwhile.
* What was deleted here is shown by no answer, however late that comes; what was asked before
  anything was deleted, or of another remote, is asked anew.
* The best of both come first, by the rule of this machine (`local.ranking`).
* So many questions may be under way at once; more are answered from this machine alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Generic, TypeVar

from palace_store.local.connection import LocalConnection
from palace_store.local.memory import Memory
from palace_store.local.ranking import ranked
from palace_store.sync.failures import RemoteError
from palace_store.sync.rows import Row

#: S4 names the bound and not its length; this is our choice, in seconds.
RECALL_TIMEOUT_S = 8.0
#: How long an answer that nobody waited for is kept, in seconds.
KEPT_S = 120.0
UNDER_WAY_MAX = 4
STILL_WORKING = "still working, retry: the remote has not answered yet"

T = TypeVar("T")


@dataclass(frozen=True)
class Recall:
    """What was found, and whether the remote was heard; `note` says why not."""

    memories: tuple[Memory, ...]
    complete: bool
    note: str = ""


class Bounded(Generic[T]):
    """Calls that are waited for so long and no longer, each known by what was asked."""

    def __init__(self, timeout_s: float | None) -> None:
        """Set up; with None every call is waited for to its end."""
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._calls: dict[object, tuple[Future[T], float]] = {}

    def ask(self, question: object, call: Callable[[], T]) -> T | None:
        """Return what the call returns, None if it takes too long; raises what it raises."""
        future = self._future(question, call)
        if future is None:
            return None
        try:
            answer = future.result(self._timeout_s)
        except FutureTimeoutError:
            if not future.done():
                return None
            raise
        finally:
            if future.done():
                with self._lock:
                    self._calls.pop(question, None)
        return answer

    def _future(self, question: object, call: Callable[[], T]) -> Future[T] | None:
        now_s = time.monotonic()
        with self._lock:
            for known, (future, begun_s) in list(self._calls.items()):
                if future.done() and now_s - begun_s > KEPT_S:
                    del self._calls[known]
            if question in self._calls:
                return self._calls[question][0]
            if sum(not future.done() for future, _ in self._calls.values()) >= UNDER_WAY_MAX:
                return None
            future = Future[T]()
            self._calls[question] = (future, now_s)
        threading.Thread(target=_run, args=(future, call), daemon=True).start()
        return future


def _run(future: Future[T], call: Callable[[], T]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:  # noqa: BLE001  (whoever asked is told)
        future.set_exception(error)


@dataclass(frozen=True)
class Gone:
    """What is deleted here and not yet there, and how often anything was deleted so far.

    `generation` is that of the remote's numbers (`known`).
    """

    ids: frozenset[str]
    deletions: int
    generation: int

    @classmethod
    def now(cls, connection: LocalConnection) -> Gone:
        """Return how that stands, as of one moment."""
        found = connection.read(
            "SELECT name, value FROM sync WHERE name IN ('deletions', 'generation') UNION ALL"
            " SELECT id, NULL FROM memories WHERE pending IS NOT NULL AND deleted"
        )
        ids = frozenset(memory_id for memory_id, value in found if value is None)
        noted = {name: int(value) for name, value in found if value is not None}
        return cls(ids, noted.get("deletions", 0), noted.get("generation", 0))

    def left_of(self, rows: list[Row]) -> list[Row]:
        """Return the rows of memories that are not deleted here."""
        return [row for row in rows if row.memory is not None and row.memory.id not in self.ids]


def together(
    here: list[Memory],
    ask: Callable[[], list[Row] | None],
    *,
    query: str,
    limit: int,
    shown: Callable[[list[Row]], None],
) -> Recall:
    """Return what is here and what the remote finds; `shown` is told what only the remote has."""
    try:
        there = ask()
    except RemoteError as error:
        return Recall(tuple(here), complete=False, note=f"only this machine was asked: {error}")
    if there is None:
        return Recall(tuple(here), complete=False, note=STILL_WORKING)
    rows = {row.memory.id: row for row in there if row.memory is not None}
    found = {each.memory.id: each.memory for each in rows.values() if each.memory is not None}
    found.update((memory.id, memory) for memory in here)
    best = ranked(found.values(), query)[:limit]
    known = {memory.id for memory in here}
    shown([rows[memory.id] for memory in best if memory.id not in known])
    return Recall(tuple(best), complete=True)
