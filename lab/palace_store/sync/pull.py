"""Taking over what the remote has: what changed since, or everything.

* Each part of the list is one short transaction; the remote is waited for outside of any. What was
  taken over stays, whatever happens to the rest.
* A full resync lists everything. What only this machine has is pushed then, but for what the remote
  has in the same words. A memory goes only where the remote says that it was deleted: a list is
  older than what was stored here while it was on its way.
* A malformed row is passed over and reported. While there is one nobody can tell what the remote
  lacks, so nothing is pushed for it.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import nullcontext
from dataclasses import dataclass

from palace_store.fixes import Fixes
from palace_store.local.connection import LocalConnection
from palace_store.sync import ledger
from palace_store.sync.remote import Remote, RemoteFailedError
from palace_store.sync.report import Round

#: A remote that always has more is cut off here: a million memories, and the rest next time.
_PAGES_MAX = 5000


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
            return self._pull(key, full=full)

    def _pull(self, key: str, *, full: bool) -> Round:
        after = 0 if full else ledger.cursor(self.connection)
        there: set[int] = set()
        pulled, problems = 0, list[str]()
        for _ in range(_PAGES_MAX):
            page = self.remote.changes(after, key)
            if page.malformed and not self.fixes.has("sync_rows"):
                raise RemoteFailedError(page.malformed[0])
            problems += page.malformed
            for row in page.rows:
                (there.discard if row.memory is None else there.add)(row.id)
            pulled += ledger.apply(
                self.connection, page.rows, cursor=page.next, dedup=self.fixes.has("sync_dedup")
            )
            after = page.next
            if not page.more:
                break
        if full:
            if not self.fixes.has("sync_tombstones"):
                ledger.mirror(self.connection, there)
            elif self.fixes.has("sync_orphans") and not problems:
                ledger.adopt(self.connection, there)
        return Round(pulled=pulled, problems=tuple(problems))


def _note_begin(db: sqlite3.Connection) -> None:
    db.execute(
        "INSERT OR REPLACE INTO sync (name, value) VALUES ('resync begun', ?)", (str(time.time()),)
    )
