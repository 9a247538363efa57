"""The memories of one machine as a target: what a worker of a trial does to them (S4).

* Memory n is the words "memory n", the same on every machine; in the history it is a call "memory"
  or "forget" about n. A forget that found nothing is none.
* The option `machine` names whose memories they are, by default the process's own; processes of
  one machine share a file.
* The holder and the reader are the world around the library (`stranger`).
* `wrong` makes the deliberately wrong variants on which a guard has to fail.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

from palace_lab.history.segment import Phase, Recorder
from palace_lab.targets.base import Context, wrong_variant
from palace_lab.targets.memory_files import machine_file, read_back, words_of
from palace_lab.targets.old_memories import make_old
from palace_lab.targets.stranger import OBSERVER_BUSY_S, BesideStranger
from palace_store.fixes import Fixes
from palace_store.local import LocalStore
from palace_store.local.memory import DEFAULT_NAMESPACE, id_of

#: Wrong variants by name, with what is wrong about them.
WRONG = {"ack-first": "a memory is acknowledged although its transaction was not committed"}

Answer = dict[str, Any]


class CutOffError(Exception):
    """The lab's own exception in the middle of a transaction; nothing may come of that."""

    effect = "none"


class SharedRecorder:
    """A recorder for several threads of one process."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._lock = threading.Lock()

    def invoke(self, op: str, *, first: int = 0, count: int = 0, revision: int = 0) -> int:
        """Record that a call begins."""
        with self._lock:
            return self._recorder.invoke(op, first=first, count=count, revision=revision)

    def write(self, phase: Phase, op: str, call: int = 0, **values: Any) -> None:
        """Append one record."""
        with self._lock:
            self._recorder.write(phase, op, call, **values)


class MemoriesTarget(BesideStranger):
    """One process' view of the memories of its machine; `open` opens them.

    It pauses at "locked" and at "migrating", where an operation asks for that.
    """

    TABLE = "memories"
    RECORDS_ITSELF = frozenset({"remember", "forget", "remember_at_once", "cut_off", "make_old"})

    def __init__(self, context: Context) -> None:
        self.machine = str(context.options.get("machine", context.process))
        self.path = machine_file(context.palace, self.machine)
        shared = SharedRecorder(context.recorder)
        super().__init__(replace(context, recorder=shared), self.path)  # type: ignore[arg-type]  # the same calls
        self._wrong = wrong_variant(context, WRONG)
        self.fixes = Fixes.parse(context.fixes)
        self.scale = context.time_scale
        self._store: LocalStore | None = None

    def open(self, *, pause_at: int | None = None, pause_when_locked: bool = False) -> Answer:
        """Open the memories; says how often a lock was met and was waited for.

        With `pause_at` it pauses before that statement of a migration, with `pause_when_locked` at
        the first lock it meets, so that a trial knows it was met.
        """
        met = 0

        def on_locked() -> None:
            nonlocal met
            met += 1
            if pause_when_locked and met == 1:
                self.context.pause("locked")

        def on_step(done: int) -> None:
            if done == pause_at:
                self.context.pause("migrating")

        self._store = LocalStore(
            self.path.parent,
            fixes=self.fixes,
            time_scale=self.scale,
            seed=self.context.seed,
            on_locked=on_locked,
            on_step=on_step,
        )
        return {"locks_met": met}

    def close(self) -> None:
        """Close the memories and let go of whatever this process holds."""
        self.release()
        self.unpin()
        if self._store is not None:
            self._store.close()
            self._store = None

    def remember(self, *, first: int, count: int = 1) -> Answer:
        """Store memories first … first + count - 1, one call each; says how long the longest took.

        Stops at the first that fails.
        """
        slowest_s = 0.0
        for n in range(first, first + count):
            began = time.monotonic()
            with self.call("memory", first=n, count=1):
                if self._wrong != "ack-first" or n % 10:
                    self.opened().store(words_of(n))
            slowest_s = max(slowest_s, time.monotonic() - began)
        return {"stored": count, "slowest_s": slowest_s}

    def remember_at_once(self, *, first: int, count: int, threads: int) -> Answer:
        """Store so many memories from each of several threads, all let go together."""
        gate = threading.Barrier(threads)
        raised: list[BaseException] = []

        def work(thread: int) -> None:
            gate.wait(OBSERVER_BUSY_S)
            try:
                self.remember(first=first + thread * count, count=count)
            except BaseException as error:  # noqa: BLE001  (raised again by the caller)
                raised.append(error)

        workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if raised:
            self.recorded_error = raised[0]
            raise raised[0]
        return {"stored": threads * count}

    def forget(self, *, first: int, count: int = 1) -> Answer:
        """Delete memories; one that is not there is no call."""
        forgotten = 0
        for n in range(first, first + count):
            memory_id = id_of(DEFAULT_NAMESPACE, words_of(n))
            if self.opened().get(memory_id) is not None:
                with self.call("forget", first=n, count=1):
                    forgotten += self.opened().delete(memory_id)
        return {"forgotten": forgotten}

    def cut_off(self, *, n: int) -> Answer:
        """Store memory n in a transaction in which an exception is raised afterwards."""
        cut = CutOffError("an exception of the lab inside a transaction")

        def work() -> None:
            with self.opened().transaction():
                self.opened().store(words_of(n))
                raise cut

        with suppress(CutOffError), self.call("memory", first=n, count=1):
            work()
        return {"cut_off": str(cut)}

    def make_old(self, *, version: int, first: int, count: int) -> Answer:
        """Make the file as an old version of the library did, with so many memories."""
        with self.call("memory", first=first, count=count):
            make_old(self.path, version, map(words_of, range(first, first + count)))
        return {"version": version}

    def read_all(self) -> Answer:
        """Read back what every machine and the remote hold, without the library."""
        return read_back(self.context.palace)

    def opened(self) -> LocalStore:
        """Return the open store."""
        if self._store is None:
            raise RuntimeError("no memories are open: the plan must open them in this process")
        return self._store


def target(context: Context) -> MemoriesTarget:
    """Return the target for the worker loop."""
    return MemoriesTarget(context)
