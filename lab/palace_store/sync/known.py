"""Which remote the memory file knows the numbers of, in the file itself.

A number says nothing without the remote that gave it: another remote gives it to other words, and
so does the same one after it was restored from a backup. So:

- The file notes the address. At another one everything it knew is forgotten (`forget`), then all
  memories meet by their words, as if the remote were new: none goes, each is told.
- The same where a remote shows that it is not the one it was (`ExchangedError`): it names another
  history, a number is that of other words, or its whole list ends before what was seen of it. A
  remote that was restored and shows none of these is believed, also where it says that something
  was deleted.
- What a round has begun with one remote is not noted of another: each write compares `generation`.
- What is deleted here and may be at a remote that was not yet listed to its end stays pending.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from palace_store.errors import PalaceError
from palace_store.local.connection import LocalConnection
from palace_store.sync.notes import put, take, take_numbers, value

#: In SQL: whether the list of this remote was not seen to its end yet.
UNLISTED = "EXISTS (SELECT 1 FROM sync WHERE name = 'unlisted')"
#: `sent` of a memory that a former remote may have, and this one was never told of.
SENT_TO_FORMER = -1

T = TypeVar("T")


class ExchangedError(Exception):
    """The remote is not the one whose numbers the file has. Raised before any effect of a page."""


class AnotherRemoteError(PalaceError):
    """Another process syncs this file with another remote, or has found that it was restored."""


@dataclass(frozen=True)
class Known:
    """A memory file, and the remote that its numbers are of for as long as a round lasts."""

    connection: LocalConnection
    generation: int

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in one transaction, unless the numbers are another remote's by now."""

        def checked(db: sqlite3.Connection) -> T:
            if generation_of(db) != self.generation:
                raise AnotherRemoteError(
                    f"the remote of {self.connection.path} was exchanged during this round: the "
                    "next one compares everything; let all servers of a palace have one --remote"
                )
            return work(db)

        return self.connection.write(checked)


def meet(connection: LocalConnection, url: str) -> Known:
    """Return what is known of the remote of that address; of another one it is forgotten."""

    def work(db: sqlite3.Connection) -> int:
        before = value(db, "remote")
        if before is not None and before != url:
            _forget(db)
        put(db, "remote", url)
        return generation_of(db)

    rows = connection.read(
        "SELECT coalesce((SELECT value FROM sync WHERE name = 'generation'), 0)"
        " FROM sync WHERE name = 'remote' AND value = ?",
        (url,),
    )
    return Known(connection, int(rows[0][0]) if rows else connection.write(work))


def forget(known: Known) -> Known:
    """Forget whatever is known of the remote; the memories stay, with what is to be told of them.

    A list that begins now has to be compared in full.
    """

    def work(db: sqlite3.Connection) -> int:
        _forget(db)
        return generation_of(db)

    return Known(known.connection, known.write(work))


def generation_of(db: sqlite3.Connection) -> int:
    """Return how often the numbers came to mean other memories."""
    return int(value(db, "generation") or 0)


def unlisted(connection: LocalConnection) -> bool:
    """Tell whether everything is to be compared, because nothing is known of the remote yet."""
    query = f"SELECT {UNLISTED} AND NOT EXISTS (SELECT 1 FROM sync WHERE name = 'cursor')"  # noqa: S608  (a constant)
    return bool(connection.read(query)[0][0])


def listed(db: sqlite3.Connection) -> None:
    """Note that the list of this remote was seen to its end, each row of it."""
    take(db, "unlisted")


def _forget(db: sqlite3.Connection) -> None:
    following = generation_of(db) + 1
    db.execute(
        "UPDATE memories SET sent = CASE WHEN remote_id IS NOT NULL OR sent THEN ? ELSE 0 END,"
        " remote_id = NULL, incarnation = 0, attempts = 0, parked = 0, error = NULL",
        (SENT_TO_FORMER,),
    )
    take_numbers(db)
    put(db, "generation", str(following))
    put(db, "unlisted", "")
