"""Taking over what the remote has: what changed since, or everything.

* Each part of the list is one short transaction; the remote is waited for outside of any. What was
  taken over stays, whatever happens to the rest.
* A full resync lists everything. What only this machine has is pushed then, but for what the remote
  has in the same words. A memory goes only where the remote says that it was deleted: a list is
  older than what was stored here while it was on its way.
* What a full list says was deleted goes at its end, when it has shown that it is of the remote that
  gave the numbers known here. One that is not is read again, from its beginning, by words alone.
* A list may be a log, which has a number each time it changed: the last time counts. Words that are
  here without a number meet theirs at the end of the list, when it is known not to be deleted.
* A malformed row is passed over and reported. Words that cannot be read are those of no memory, so
  what is here without a number is pushed nevertheless; what has one may be that row, and waits.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

from palace_store.fixes import Fixes
from palace_store.local.connection import LocalConnection
from palace_store.sync import intake
from palace_store.sync.known import ExchangedError, Known, forget, meet, unlisted
from palace_store.sync.remote import PAGE_ROWS, Remote, RemoteFailedError
from palace_store.sync.report import Round
from palace_store.sync.rows import Row

#: A remote that always has more is cut off here: a million memories, and the rest next time.
_PAGES_MAX = 5000


@dataclass
class _Seen:
    """What a full list has shown so far: which words are there and which numbers are gone by now.

    `held` are the numbers that were known before it. `waiting` are rows of words that are here
    without a number; their content is not kept. `unread` are the ids of malformed rows, as far as
    their words can be read.
    """

    held: dict[str, int]
    there: dict[int, str] = field(default_factory=dict)
    gone: dict[int, Row] = field(default_factory=dict)
    waiting: list[Row] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)

    def live_of(self, rows: Sequence[Row]) -> list[Row]:
        """Take note of the next rows of the list; return those that are not deleted by these."""
        deleted_at = {row.id: at for at, row in enumerate(rows) if row.memory is None}
        live = []
        for at, row in enumerate(rows):
            if row.memory is None:
                self.there.pop(row.id, None)
                self.gone[row.id] = row
            else:
                self.gone.pop(row.id, None)
                self.there[row.id] = row.memory.id
                if at > deleted_at.get(row.id, -1):
                    live.append(row)
        return live


@dataclass(frozen=True)
class Puller:
    """Pulls from one remote into one memory file."""

    connection: LocalConnection
    remote: Remote
    fixes: Fixes

    def pull(self, key: str, *, full: bool) -> Round:
        """Take over what changed, or with `full` compare everything."""
        outside = self.fixes.has("sync_outside_lock")
        with nullcontext() if outside else self.connection.transaction() as db:
            if db is not None:
                _note_begin(db)
            known = meet(self.connection, self.remote.url)
            full = full or unlisted(self.connection)
            try:
                return self._pull(known, key, full=full, strict=True)
            except ExchangedError:
                return self._pull(forget(known), key, full=True, strict=False)

    def _pull(self, known: Known, key: str, *, full: bool, strict: bool) -> Round:
        before = intake.cursor(self.connection)
        after, more = 0 if full else before, True
        seen = _Seen(held=intake.numbers(self.connection) if full else {})
        pulled, problems = 0, list[str]()
        for _ in range(_PAGES_MAX):
            page = self.remote.changes(after, key)
            intake.recognise(known, page.history, strict=strict)
            if page.malformed and not self.fixes.has("sync_rows"):
                raise RemoteFailedError(page.malformed[0])
            problems += page.malformed
            seen.unread.update(page.unread)
            if full:
                pulled += self._add(known, seen, seen.live_of(page.rows), strict=strict)
            else:
                pulled += self._apply(known, page.rows, page.next, strict=strict)
            after, more = page.next, page.more
            if not more:
                break
        if full:
            if strict and not more and after < before:
                raise ExchangedError
            pulled += self._end(known, seen, after, strict=strict)
            if not more or not self.fixes.has("sync_tombstones"):
                self._compare(known, seen, whole=not problems)
        return Round(pulled=pulled, problems=tuple(problems), compared=full)

    def _apply(self, known: Known, rows: Sequence[Row], cursor: int | None, *, strict: bool) -> int:
        dedup = self.fixes.has("sync_dedup")
        return intake.apply(known, rows, cursor=cursor, dedup=dedup, strict=strict)

    def _add(self, known: Known, seen: _Seen, rows: list[Row], *, strict: bool) -> int:
        dedup = self.fixes.has("sync_dedup")
        added, waiting = intake.add(known, rows, dedup=dedup, strict=strict)
        seen.waiting += waiting
        return added

    def _end(self, known: Known, seen: _Seen, cursor: int, *, strict: bool) -> int:
        """Take over what meets words of here, what was deleted, and that the list was read so far.

        The first comes first: words that are at the remote twice stay while one of them does.
        """
        pulled = 0
        intake.meet(known, [row for row in seen.waiting if row.id not in seen.gone])
        gone = list(seen.gone.values())
        for first in range(0, len(gone), PAGE_ROWS):
            part = gone[first : first + PAGE_ROWS]
            pulled += self._apply(known, part, None, strict=strict)
        return pulled + self._apply(known, [], cursor, strict=strict)

    def _compare(self, known: Known, seen: _Seen, *, whole: bool) -> None:
        if not self.fixes.has("sync_tombstones"):
            intake.mirror(known, seen.there)
            return
        if self.fixes.has("sync_orphans"):
            unread = None if whole else seen.unread
            intake.adopt(known, seen.there, held=seen.held, unread=unread)
        if whole:
            intake.complete(known)


def _note_begin(db: sqlite3.Connection) -> None:
    db.execute(
        "INSERT OR REPLACE INTO sync (name, value) VALUES ('resync begun', ?)", (str(time.time()),)
    )
