"""Recall that asks the remote too, and answers within RECALL_TIMEOUT_S whatever the remote does.

* What the remote says in time is put together with what this machine has. What it does not say in
  time is left to its own thread: the answer is what this machine has, and says "still working,
  retry"; whoever asks the same again gets what has come meanwhile.
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

from palace_store.local.memory import Memory
from palace_store.sync.remote import RemoteError

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


def together(
    here: list[Memory],
    ask: Callable[[], list[Memory] | None],
    *,
    deleted: Callable[[Memory], bool],
    limit: int,
) -> Recall:
    """Return what is here and what the remote finds; `deleted` tells what is gone here."""
    try:
        there = ask()
    except RemoteError as error:
        return Recall(tuple(here), complete=False, note=f"only this machine was asked: {error}")
    if there is None:
        return Recall(tuple(here), complete=False, note=STILL_WORKING)
    found = {memory.id: memory for memory in there if not deleted(memory)}
    found.update((memory.id, memory) for memory in here)
    return Recall(tuple(found.values())[:limit], complete=True)
