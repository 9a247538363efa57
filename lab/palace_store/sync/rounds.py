"""One round after the other: pull and push, what is due, and whether the remote takes the key.

* Pull and push are independent: each runs though the other failed.
* Everything is compared at the start and about every `RESYNC_S`; a comparison that was cut off is
  due again.
* A key that the remote refuses means local only: nothing is sent but a light check, until that
  succeeds.
* What goes wrong is data (`Round.problems`), never an exception.
"""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable

from palace_store.errors import PalaceError
from palace_store.fixes import Fixes
from palace_store.local.connection import LocalConnection
from palace_store.sync.blame import Turns
from palace_store.sync.pull import Puller
from palace_store.sync.push import Pusher
from palace_store.sync.remote import Remote, RemoteDeniedError, RemoteUnreachableError
from palace_store.sync.report import Round

RESYNC_S = 600.0  # S4's fix: about every 10 minutes
_ABOUT = (0.9, 1.1)
#: So many rows that could not be read are remembered with their sentences.
_UNREAD_MAX = 100


class Rounds:
    """Rounds between one memory file and one remote; one at a time, from any thread."""

    def __init__(
        self,
        own: Callable[[], LocalConnection],
        remote: Remote,
        fixes: Fixes,
        *,
        key: Callable[[], str],
        resync_s: float,
        rng: random.Random,
    ) -> None:
        self.last: Round | None = None
        self._own = own
        self._remote = remote
        self._fixes = fixes
        self._key = key
        self._resync_s = resync_s
        self._rng = rng
        self._resync_at_s = 0.0  # on the monotonic clock: the first round compares everything
        self._turn = threading.Lock()
        self._turns = Turns()
        self._unread: tuple[str, ...] = ()  # since everything was compared

    @property
    def denied(self) -> bool:
        """Tell whether the remote refused the key the last time."""
        return self.last is not None and self.last.denied

    @property
    def problems(self) -> tuple[str, ...]:
        """Return what is wrong: in the last round, and with rows that no round has read since."""
        last = () if self.last is None else self.last.problems
        return (*last, *(each for each in self._unread if each not in last))

    def both(self, *, full: bool | None) -> Round:
        """Pull and push; without `full` everything is compared when that is due."""
        with self._turn:
            due = time.monotonic() >= self._resync_at_s and self._fixes.has("sync_resync")
            everything = due if full is None else full
            return self._remembered(lambda: self._both(full=everything))

    def pull(self, *, full: bool) -> Round:
        """Only take over what the remote has."""
        with self._turn:
            return self._remembered(lambda: self._pull(full=full))

    def push(self) -> Round:
        """Only tell the remote what is due."""
        with self._turn:
            return self._remembered(self._push)

    def _remembered(self, work: Callable[[], Round]) -> Round:
        refusal = Round()
        if self.denied and self._fixes.has("sync_auth"):
            refusal = self._guarded(self._check_key)
        self.last = refusal if refusal.problems else work()
        return self.last

    def _check_key(self) -> Round:
        self._remote.check_auth(self._key())
        return Round()

    def _both(self, *, full: bool) -> Round:
        if self._fixes.has("sync_independent"):
            pulled = self._pull(full=full)
            local_only = pulled.denied and self._fixes.has("sync_auth")
            return pulled if local_only else pulled + self._push()
        pushed = self._push()
        return pushed if pushed.problems else pushed + self._pull(full=full)

    def _pull(self, *, full: bool) -> Round:
        def work() -> Round:
            done = Puller(self._own(), self._remote, self._fixes).pull(self._key(), full=full)
            before = () if done.compared else self._unread
            self._unread = (*before, *done.problems)[:_UNREAD_MAX]
            if full:  # to its end
                pause_s = self._resync_s * self._rng.uniform(*_ABOUT)
                self._resync_at_s = time.monotonic() + pause_s
            return done

        return self._guarded(work)

    def _push(self) -> Round:
        return self._guarded(
            lambda: Pusher(self._own(), self._remote, self._fixes, self._turns).push(self._key())
        )

    def _guarded(self, work: Callable[[], Round]) -> Round:
        try:
            return work()
        except RemoteDeniedError as error:
            return Round(problems=(str(error),), denied=True)
        except RemoteUnreachableError as error:
            return Round(problems=(str(error),), away=True)
        except (PalaceError, sqlite3.Error) as error:  # of the remote, or of the memory file
            return Round(problems=(str(error),))
