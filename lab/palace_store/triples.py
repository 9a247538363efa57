"""The knowledge graph of a palace: facts with a time of validity, in SQLite, for many processes.

* One file, `<palace>/knowledge.sqlite3`, in WAL mode. One store is one connection, usable from
  every thread of the process that opened it, one call at a time; not across a fork.
* Adding a fact that already holds returns its id and changes nothing; so does a `key` that was
  used before, even if its fact has ended since. So an add may be repeated when its outcome is
  unknown. Our choice: of a fact whose beginning lies ahead an earlier one is taken, so that what
  is told to hold now does; and nothing ends at a moment that lies ahead, or it could not be told
  what holds still. What lies ahead is by this machine's clock.
* A fact that was told again after its end may hold twice at a moment; there it is shown once.
* An add writes first and then reads, as S2's did; `invalidate` has to read first, which is where
  a deferred transaction fails at once when a peer wrote since, or is writing now.
* Every `kg_*` fix can be switched off; what is left is what S2 reported: 10 s of busy_timeout,
  deferred transactions, no retry, a plain switch to WAL, checkpoints each 1,000 pages, a log that
  grows as long as somebody reads, nothing at the end of the process.
* A lock that outlasts all patience raises `PalaceLockedError`; its `effect` says whether anything
  may have been written.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Literal, final

from palace_store.fixes import Fixes
from palace_store.sqlite_lock import PalaceLockedError, check_time_scale
from palace_store.state import place_of
from palace_store.triple_connection import GraphConnection
from palace_store.triple_file import LOG_BYTES_MAX, GraphFile, KnowledgeError
from palace_store.triple_input import (
    BadDateError,
    BadTripleError,
    NewTriple,
    Triple,
    moment,
    stored,
    text,
)

__all__ = [
    "BadDateError",
    "BadTripleError",
    "KnowledgeError",
    "NewTriple",
    "PalaceLockedError",
    "Triple",
    "TripleStore",
]

#: Most triples of one `add_many`: one transaction must not hold the lock for minutes.
MANY_MAX = 10_000

_SELECT = "SELECT id, subject, predicate, object, valid_from, ended, source FROM triples"
_OPEN = (
    "SELECT id, valid_from FROM triples"
    " WHERE subject = ? AND predicate = ? AND object = ? AND ended IS NULL"
)
_ADD = (
    "INSERT INTO triples (subject, predicate, object, valid_from, source) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (subject, predicate, object) WHERE ended IS NULL"
    " DO UPDATE SET valid_from = excluded.valid_from WHERE triples.valid_from > ?"
    " AND (excluded.valid_from IS NULL OR excluded.valid_from < triples.valid_from)"
)
_WHERE = {
    "out": "subject = :entity",
    "in": "object = :entity",
    "both": "(subject = :entity OR object = :entity)",
}


@final
class TripleStore:
    """The knowledge graph of one palace, opened (and made, if new) by its constructor.

    `time_scale` multiplies every time-out, so that 60 s can be tested in 0.6 s. `clock` says what
    is now. `seed` fixes the jitter of the pauses. `log_bytes_max` is what the log may grow to
    before a write empties it first. For a lab that has to know or to decide what happens in
    between, `on_locked` is called when a lock was met and will be tried again, `on_read` between
    read and write of `invalidate`; neither may call the store.

    Raises `PalaceLockedError` where a peer does not let go, `KnowledgeError` for a file or
    folder that is no knowledge graph of ours.
    """

    def __init__(
        self,
        palace: Path | str,
        *,
        fixes: Fixes | None = None,
        time_scale: float = 1.0,
        clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
        seed: int | None = None,
        log_bytes_max: int = LOG_BYTES_MAX,
        on_locked: Callable[[], None] | None = None,
    ) -> None:
        check_time_scale(time_scale)
        self.fixes = Fixes.all() if fixes is None else fixes
        self.on_read: Callable[[], None] | None = None
        rng = random.Random(seed)  # noqa: S311  (jitter, no secret)
        file = GraphFile(
            place_of(palace),
            self.fixes,
            time_scale=time_scale,
            rng=rng,
            log_bytes_max=log_bytes_max,
        )
        self._clock = clock
        self._connection = GraphConnection(file, on_locked)

    @property
    def path(self) -> Path:
        """Return the SQLite file."""
        return self._connection.file.path

    def add(
        self,
        subject: str,
        predicate: str,
        object_: str,
        *,
        valid_from: str | None = None,
        source: str | None = None,
        key: str | None = None,
    ) -> int:
        """Add one fact and return its id; a fact that holds already keeps its id and its dates.

        One whose beginning lies ahead keeps its id, and begins at `valid_from` if that is earlier.
        """
        return self.add_many([NewTriple(subject, predicate, object_, valid_from, source, key)])[0]

    def add_many(self, triples: Iterable[NewTriple | tuple[str, str, str]]) -> list[int]:
        """Add all of the facts or none of them, in one transaction; at most `MANY_MAX`."""
        if not isinstance(triples, Iterable) or isinstance(triples, str | bytes | Mapping):
            raise BadTripleError(f"{triples!r:.80} is no list of triples: pass a list")
        new = [NewTriple.of(triple) for triple in islice(triples, MANY_MAX + 1)]
        if len(new) > MANY_MAX:
            raise BadTripleError(f"more than {MANY_MAX} triples in one call: add them in parts")
        now = stored(self._clock())
        return self._connection.write(lambda db: [_insert(db, one, now) for one in new])

    def invalidate(
        self, subject: str, predicate: str, object_: str, *, ended: str | None = None
    ) -> int:
        """End the fact, by default now; return how many held and hold no longer (0 or 1).

        Without `ended`, one whose beginning lies ahead ends where it begins, so it never holds.
        Raises `BadDateError` if the fact would end before it began, or at a moment that lies ahead.
        """
        fact = (text("subject", subject), text("predicate", predicate), text("object", object_))
        now = stored(self._clock())
        end = now if ended is None else moment("ended", ended)
        if end > now:
            raise BadDateError(
                f"ended: {end} lies ahead, it is {now} in UTC: leave 'ended' out to end the triple "
                "now, or end it when it has ended"
            )

        def work(db: sqlite3.Connection) -> int:
            row = db.execute(_OPEN, fact).fetchone()
            if self.on_read is not None:
                self.on_read()
            if row is None:
                return 0
            begins = row[1] or end
            if ended is not None and end < begins:
                raise BadDateError(
                    f"the triple begins at {begins} and cannot end at {end}: pass a later 'ended', "
                    "or none"
                )
            values = (max(begins, end), row[0])
            return db.execute("UPDATE triples SET ended = ? WHERE id = ?", values).rowcount

        return self._connection.write(work)

    def query(
        self,
        entity: str,
        *,
        as_of: str | None = None,
        direction: Literal["in", "out", "both"] = "both",
    ) -> list[Triple]:
        """Return the facts of which the entity is subject ("out"), object ("in") or either.

        With `as_of` only those that held at that moment, each once, as it was told first; else all,
        ended ones too. By id.
        """
        if not isinstance(direction, str) or direction not in _WHERE:
            raise BadTripleError(f"direction {direction!r} is unknown: pass 'in', 'out' or 'both'")
        where = f" WHERE {_WHERE[direction]}"
        values = {"entity": text("entity", entity)}
        if as_of is not None:
            values["at"] = moment("as_of", as_of)
            where += (
                " AND (valid_from IS NULL OR valid_from <= :at) AND (ended IS NULL OR :at < ended)"
            )
        rows = self._connection.read(f"{_SELECT}{where} ORDER BY id", values)
        found = [Triple(*row) for row in rows]
        if as_of is None:
            return found
        once: dict[tuple[str, str, str], Triple] = {}
        for each in found:
            once.setdefault((each.subject, each.predicate, each.object), each)
        return list(once.values())

    def all(self) -> list[Triple]:
        """Return every fact ever told, ended ones too, by id."""
        return [Triple(*row) for row in self._connection.read(f"{_SELECT} ORDER BY id", {})]

    def count(self) -> int:
        """Return how many facts there are, ended ones too."""
        return int(self._connection.read("SELECT count(*) FROM triples", {})[0][0])

    def close(self) -> None:
        """Fold the log into the file as far as peers allow, and close; twice does no harm."""
        self._connection.close()

    def install_shutdown_handler(self) -> bool:
        """Close cleanly at exit and on SIGTERM: see `GraphConnection.install_shutdown_handler`."""
        return self._connection.install_shutdown_handler()

    def __enter__(self) -> TripleStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _insert(db: sqlite3.Connection, new: NewTriple, now: str) -> int:
    fact = (new.subject, new.predicate, new.object_)
    if new.key is not None:
        claim = "INSERT INTO keys (key, triple) VALUES (?, 0) ON CONFLICT DO NOTHING"
        if db.execute(claim, (new.key,)).rowcount == 0:
            known = db.execute(
                "SELECT subject, predicate, object, id FROM keys JOIN triples ON id = triple"
                " WHERE key = ?",
                (new.key,),
            ).fetchone()
            if known[:3] != fact:
                raise BadTripleError(f"this key names another triple, {known[3]}: use a new key")
            return int(known[3])
    db.execute(_ADD, (*fact, new.valid_from, new.source, now))
    triple_id = int(db.execute(_OPEN, fact).fetchone()[0])
    db.execute("UPDATE keys SET triple = ? WHERE key = ?", (triple_id, new.key))
    return triple_id
