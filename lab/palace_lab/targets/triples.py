"""The knowledge graph as a target: what a worker of a trial does to it, in plain data (S2, bug 1).

* Order comes from the outside: where a trial has to put something in between, the target pauses
  and goes on when it is told to.
* The peer that gets in between, the holder and the observer use raw connections of their own:
  they are the world around the library and are the same on every arm.
* Triple n of a process is a pure function of both; in the history it is a call "triple" about n.
* `wrong` makes the deliberately wrong variants on which a guard has to fail.
"""

from __future__ import annotations

import sqlite3
import time
from datetime import date, timedelta
from typing import Any

from palace_lab.targets.base import Context, describe, wrong_variant
from palace_lab.targets.graph_file import read_back, wal_bytes
from palace_lab.targets.stranger import BesideStranger
from palace_store.fixes import Fixes
from palace_store.triple_file import LOG_BYTES_MAX
from palace_store.triples import NewTriple, PalaceLockedError, TripleStore

#: Wrong variants by name, with what is wrong about them.
WRONG = {
    "timeout-0": "SQLite does not wait for a peer at all",
    "one-by-one": "triples that belong together get a transaction each",
    "ack-first": "a triple is acknowledged although its transaction was not committed",
}
PREDICATE = "p"
#: At this scale no wait is longer than a tenth of a millisecond.
_NO_TIME = 1e-6

Answer = dict[str, Any]


class LogTooLongError(Exception):
    """The write-ahead log is longer than the plan allows at this point."""


class TriplesTarget(BesideStranger):
    """One process' view of the knowledge graph of one palace; `open` opens it.

    It pauses at "between-read-and-write" and at "locked", where an operation asks for that.
    """

    TABLE = "triples"
    RECORDS_ITSELF = frozenset({"add", "add_triples", "add_together", "end", "intrude"})

    def __init__(self, context: Context) -> None:
        self._path = context.palace / "knowledge.sqlite3"
        super().__init__(context, self._path)
        self._palace = context.palace
        self._scale = context.time_scale
        self._wrong = wrong_variant(context, WRONG)
        self._store: TripleStore | None = None

    def open(
        self, *, pause_when_locked: bool = False, log_bytes_max: int = LOG_BYTES_MAX
    ) -> Answer:
        """Open the graph; says how often a lock was met and what the file is like afterwards.

        With `pause_when_locked` it pauses at the first lock it meets and will wait for, so that
        a trial knows that the holder was met before it lets the holder go.
        """
        met = 0

        def on_locked() -> None:
            nonlocal met
            met += 1
            if pause_when_locked and met == 1:
                self.context.pause("locked")

        begun = time.monotonic()
        self._store = TripleStore(
            self._palace,
            fixes=Fixes.parse(self.context.fixes),
            time_scale=_NO_TIME if self._wrong == "timeout-0" else self._scale,
            seed=self.context.seed,
            on_locked=on_locked,
            log_bytes_max=log_bytes_max,
        )
        return {"locks_met": met, "waited_s": time.monotonic() - begun}

    def close(self) -> None:
        """Close the graph and let go of whatever this process holds."""
        self.release()
        self.unpin()
        if self._store is not None:
            self._store.close()
            self._store = None

    def install_shutdown_handler(self) -> Answer:
        """Ask the library to end cleanly on SIGTERM; says whether it will."""
        return {"installed": self._opened().install_shutdown_handler()}

    def add(self, *, n: int) -> Answer:
        """Add triple n."""
        begun = time.monotonic()
        with self.call("triple", first=n, count=1):
            triple_id = self._opened().add(*self._triple(n))
        return {"id": triple_id, "waited_s": time.monotonic() - begun}

    def end(self, *, n: int, pauses: int = 0, day: int = 0) -> Answer:
        """End triple n, now or on a `day`; pauses after reading in its first `pauses` attempts."""
        store = self._opened()
        paused = 0

        def on_read() -> None:
            nonlocal paused
            if paused < pauses:
                paused += 1
                self.context.pause("between-read-and-write")

        store.on_read = on_read
        try:
            with self.call("end", first=n, count=1, revision=day):
                ended = store.invalidate(*self._triple(n), ended=date_of(day) if day else None)
        finally:
            store.on_read = None
        return {"ended": ended, "paused": paused}

    def held(self, *, numbers: list[int], day: int) -> Answer:
        """Ask the library which of these triples held on a day."""
        store, at = self._opened(), date_of(day)
        held = [n for n in numbers if store.query(f"o{n}", as_of=at, direction="in")]
        return {"asked": numbers, "day": day, "held": held}

    def add_triples(self, *, first: int, count: int) -> Answer:
        """Add triples first … first + count - 1, one transaction each, and go on after a lock."""
        store = self._opened()
        locked = 0
        for n in range(first, first + count):
            try:
                with self.call("triple", first=n, count=1):
                    if self._wrong != "ack-first" or n % 10:
                        store.add(*self._triple(n))
            except PalaceLockedError:
                locked += 1  # its call says so; a writer that lives on writes on
        return {"written": count - locked, "lock_errors": locked}

    def add_together(self, *, first: int, count: int, source_bytes: int = 1) -> Answer:
        """Add triples first … first + count - 1 in one transaction, with a source of that size."""
        source = "x" * source_bytes
        with self.call("triple", first=first, count=count):
            new = [NewTriple(*self._triple(n), source=source) for n in range(first, first + count)]
            for part in [[one] for one in new] if self._wrong == "one-by-one" else [new]:
                self._opened().add_many(part)
        return {"written": count}

    def intrude(self, *, n: int) -> Answer:
        """Commit triple n from a raw connection that waits for nobody; says whether it got in.

        A refusal is the proof that the writer it was to disturb held the lock already.
        """
        recorder = self.context.recorder
        number = recorder.invoke("triple", first=n, count=1)
        db = sqlite3.connect(self._path, timeout=0, isolation_level=None)
        try:
            db.execute("BEGIN IMMEDIATE")
            db.execute(
                "INSERT INTO triples (subject, predicate, object) VALUES (?, ?, ?)",
                self._triple(n),
            )
            db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            recorder.write("fail", "triple", number, first=n, count=1, text=describe(error))
            return {"committed": False, "error": str(error)}
        finally:
            db.close()
        recorder.write("ok", "triple", number, first=n, count=1)
        return {"committed": True, "error": None}

    def measure_log(self, *, most_bytes: int) -> Answer:
        """Look how long the log is now; raises `LogTooLongError` above `most_bytes`."""
        length = wal_bytes(self._path) or 0
        if length > most_bytes:
            raise LogTooLongError(f"the log has {length} bytes, at most {most_bytes} are allowed")
        return {"wal_bytes": length}

    def read_all(self) -> Answer:
        """Read back what is there, without the library: triples by id, integrity, log size."""
        return read_back(self._path)

    def _opened(self) -> TripleStore:
        if self._store is None:
            raise RuntimeError("the graph is not open: the plan must open it in this process first")
        return self._store

    def _triple(self, n: int) -> tuple[str, str, str]:
        return (f"{self.context.process}-s{n}", PREDICATE, f"o{n}")


def date_of(day: int) -> str:
    """Return a day of the calendar that plans count in; it begins with day 1."""
    return str(date(2000, 1, 1) + timedelta(days=day - 1))


def target(context: Context) -> TriplesTarget:
    """Return the target for the worker loop."""
    return TriplesTarget(context)
