"""S1: bringing a palace that others made under retention: its log gets back what was purged.

Alone in the palace and before any client: when the library first comes to it, and again when
another program has written its index. The vectors that are only in index files are put into the log
with sequence numbers that were purged, if it can be the row's own: below everything the log still
has of that collection, and not above its watermarks, so that chromadb reads them only when an index
is rebuilt. A record that has a vector of that row, and may be ignored, is made one that holds. One
transaction, and the palace is not said to be retained until its log has been read again: a death at
any point leaves work that is simply done again.

With `salvage`, what is torn is put back as far as a file surely holds it, and the rest is listed:
such a row stays readable by `get` and is in no search. Without, a palace with anything doubtful
about it is used as it is. Either way the log is kept from now on.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from palace_store import watermarks
from palace_store.anatomy import AnatomyError, CollectionSurvey, survey
from palace_store.anatomy.findings import some
from palace_store.anatomy.records import ADD, UPDATE, UPSERT, LogRecord, decode_seq_id
from palace_store.anatomy.salvage import Salvage
from palace_store.retention import database, finish_database, stop_purging

#: Ids in one line of a log; all of them: `DrawerStore.unfindable`, `palace-lab diagnose --json`.
_SHOWN = 1000
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Adoption:
    """What became of it; `lost` are the ids whose vector no file surely holds, by collection."""

    retained: bool
    lost: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


#: Whose rows or vectors these are nobody can say, so neither what the log lacks.
_UNKNOWABLE = frozenset({"segment-unlisted", "segment-twice", "rows-ownerless"})


class _DoubtfulError(Exception):
    """One sentence on why a palace is better left as it is."""


def adopt(palace: Path, *, salvage: bool) -> Adoption:
    """Make the palace's log as whole as its files allow and keep it so; see the rules above."""
    finish_database(palace)
    with database(palace) as connection:
        stop_purging(connection)
        if connection.execute("SELECT count(*) FROM embeddings_queue").fetchone() == (0,) and (
            connection.execute("SELECT count(*) FROM embeddings").fetchone() == (0,)
        ):
            return Adoption(retained=True)
    try:
        lost = _complete(palace, salvage=salvage)
    except (_DoubtfulError, AnatomyError, UnicodeError) as error:
        _LOG.warning(
            "%s was made without retention and is used as it is: %s; should its index be damaged "
            "now, it cannot be rebuilt from here, so keep a copy of the palace",
            palace,
            error,
        )
        return Adoption(retained=False)
    return Adoption(retained=True, lost=lost)


def _complete(palace: Path, *, salvage: bool) -> dict[str, tuple[str, ...]]:
    """Put back what the log lacks; return the ids whose vector is lost, by collection."""
    lost, of_before = {}, {}
    seen = survey(palace)
    for finding in seen.findings:
        if finding.kind in _UNKNOWABLE and (finding.ids or finding.severity == "damage"):
            raise _DoubtfulError(finding.sentence.rstrip("."))
    missing = [each for each in seen.collections if not each.log_complete]
    with database(palace) as connection:
        for each in missing:
            bad = [found.sentence for found in each.findings if found.severity != "note"]
            if bad and not salvage:
                raise _DoubtfulError(bad[0])
            gone = _put_back(connection, palace, each)
            if gone and not salvage:
                raise _DoubtfulError(f"the vector of {gone[0]!r} in {each.name!r} is in no file")
            if gone:
                lost[each.name] = gone
            of_before[each.name] = [name for name in each.changes_lost if name not in gone]
    for each in survey(palace).collections:
        gone = lost.get(each.name, ())
        if set(each.rows) - each.replayed.certain - set(gone):
            raise _DoubtfulError("the log is still incomplete after vectors were put back")
        _tell(palace, each, gone)
        if old := of_before.get(each.name):
            _LOG.warning(
                "%s: the last change of %d drawers of %r is in no file; they are found by the "
                "vector they had before, until they are written again: %s",
                palace, len(old), each.name, some(tuple(old), _SHOWN),
            )  # fmt: skip
    return lost


def _tell(palace: Path, each: CollectionSurvey, lost: tuple[str, ...]) -> None:
    logged = {record.id for record in each.collection.log if record.vector_bytes}
    nowhere = [name for name in lost if name not in logged]
    refused = [name for name in lost if name in logged]
    if nowhere:
        _LOG.warning(
            "%s: the vectors of %d drawers of %r are in no file or in one that mixes them up; they "
            "can be read, but no search finds them until they are written again: %s",
            palace, len(nowhere), each.name, some(tuple(nowhere), _SHOWN),
        )  # fmt: skip
    if refused:
        _LOG.warning(
            "%s: the vectors of %d drawers of %r are in no file that can be trusted; until they "
            "are written again, searches go by the log, which may hold those of an addition that "
            "was ignored: %s",
            palace, len(refused), each.name, some(tuple(refused), _SHOWN),
        )  # fmt: skip


def _put_back(
    connection: sqlite3.Connection, palace: Path, each: CollectionSurvey
) -> tuple[str, ...]:
    """Insert each row's vector that a replay of the log would not surely give; return the lost."""
    log = each.collection.log
    wanted = [
        name
        for name in each.rows
        if name not in each.replayed.certain
        # Without an insertion before it chromadb would ignore this; with one, nothing changes.
        or log[each.replayed.vectors[name]].operation == UPDATE
    ]
    numbers = _Numbers(connection, each)
    topic = _topic(connection, each.collection.id)
    found = Salvage.of(palace, each).vectors(wanted)
    first = {record.id: record for record in reversed(log) if record.vector_bytes}
    for name, vector in found.items():
        if name in first:
            _let_it_hold(connection, first[name], vector)
            continue
        number = numbers.take(each.rows[name])
        if number is None:
            raise _DoubtfulError(f"{each.name!r} has more rows than purged log records")
        connection.execute(
            "INSERT INTO embeddings_queue (seq_id, operation, topic, id, vector, encoding) "
            "VALUES (?, ?, ?, ?, ?, 'FLOAT32')",
            (number, UPSERT, topic, name, vector.astype("<f4").tobytes()),
        )
    _raise_watermarks(connection, each, numbers.highest)
    return tuple(name for name in wanted if name not in found)


def _let_it_hold(
    connection: sqlite3.Connection, record: LogRecord, vector: npt.NDArray[np.float32]
) -> None:
    """Make an insertion of the first record of a row in the log that has a vector.

    An update gets none before it, so that chromadb would ignore it; an addition may have been
    ignored, and then `vector` is what the row had.
    """
    connection.execute(
        "UPDATE embeddings_queue SET operation = ? WHERE seq_id = ?", (UPSERT, record.seq_id)
    )
    if record.operation == ADD:
        connection.execute(
            "UPDATE embeddings_queue SET vector = ?, encoding = 'FLOAT32' WHERE seq_id = ?",
            (vector.astype("<f4").tobytes(), record.seq_id),
        )


class _Numbers:
    """Sequence numbers of records of a collection that were purged.

    Those of its rows' last changes, and for what was changed since, others that no row has.
    """

    def __init__(self, connection: sqlite3.Connection, each: CollectionSurvey) -> None:
        log = each.collection.log
        self.purged = log[0].seq_id - 1 if log else max(each.rows.values(), default=0)
        self.highest = 0
        self._taken = {row[0] for row in connection.execute("SELECT seq_id FROM embeddings_queue")}
        rows = connection.execute("SELECT DISTINCT seq_id FROM embeddings")
        owned = {decode_seq_id(row[0]) for row in rows}
        self._others = (
            number
            for number in range(self.purged, 0, -1)
            if number not in owned and number not in self._taken
        )

    def take(self, own: int) -> int | None:
        """Return a row's own number if it was purged, else another one, None if there is none."""
        fits = 0 < own <= self.purged and own not in self._taken
        number = own if fits else next(self._others, None)
        if number is not None:
            self._taken.add(number)
            self.highest = max(self.highest, number)
        return number


def _raise_watermarks(connection: sqlite3.Connection, each: CollectionSurvey, number: int) -> None:
    """Let no watermark be below what has been purged, as one that was written by hand may be.

    chromadb begins to read where the log does, in either case.
    """
    for mark in (each.vector_watermark, each.metadata_watermark):
        if mark is not None and (mark.value or 0) < number:
            watermarks.write(connection, mark.segment, number)


def _topic(connection: sqlite3.Connection, collection: str) -> str:
    row = connection.execute("SELECT topic FROM embeddings_queue LIMIT 1").fetchone()
    head = "persistent://default/default" if row is None else str(row[0]).rpartition("/")[0]
    return f"{head}/{collection}"
