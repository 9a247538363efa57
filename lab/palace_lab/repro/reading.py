"""Reading a palace once, in a process of its own.

Rules. Index files are mapped, so a writer that cuts one short meanwhile kills the reader: that is
why nobody else lives in its process. It never writes into the palace; copies go to the directory
for temporary files, which its caller owns. What cannot be read is a claim, not an exception, but
for want of room or of rest.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from palace_lab.repro.facts import Claim, Database, Drawers, Mark, Reading, Store
from palace_lab.repro.release import era, opened_by
from palace_lab.targets.anatomy import weigh
from palace_store.anatomy import AnatomyError, CollectionSurvey, Survey, survey
from palace_store.anatomy.database_file import DATABASE, SECONDS_MAX, open_database, settled
from palace_store.anatomy.records import Watermark, is_segment_id
from palace_store.file_shape import shape_of
from palace_store.local import schema as memory_file
from palace_store.local.connection import FILE as MEMORIES
from palace_store.state import DIRECTORY, read_state
from palace_store.triple_file import LOG_BYTES_MAX
from palace_store.triple_file import SCHEMA as GRAPH

#: The files of a palace, and the table of each whose rows are what a person has stored.
STORES = {DATABASE: "embeddings", "knowledge.sqlite3": "triples", MEMORIES: "memories"}
_SCHEMAS = {"knowledge.sqlite3": GRAPH, MEMORIES: memory_file.SCHEMA}
_COMPLAINTS_MAX = 5
_SAY_NOTHING = frozenset({"no-room", "in-motion", "too-long", "too-large"})
_UNFINISHED = f"not finished in {SECONDS_MAX:.0f} s"


def read_palace(palace: Path, *, copy: bool, tell: Callable[[str], None]) -> Reading:
    """Read a palace once. `copy` reads copies of the databases only; `tell` hears of each step.

    Raises `AnatomyError` of the kinds alone that say nothing of the palace: ``no-room``,
    ``in-motion``, ``too-long``, ``too-large``.
    """
    before = stamps(palace)
    reading = Reading(store=_noted(palace), before=before)
    for name in STORES:
        if os.path.lexists(palace / name):
            reading = _with_database(reading, palace, name, copy=copy, tell=tell)
    segments = {name.partition("/")[0] for name in before if "/" in name}
    if segments and not os.path.lexists(palace / DATABASE):
        text = f"{DATABASE} is not there, but {len(segments)} directories of its index are."
        claim = Claim("database-missing", "damage", text)
        reading = replace(reading, claims=(*reading.claims, claim))
    return replace(reading, after=stamps(palace), weight=weigh(palace))


def stamps(palace: Path) -> Mapping[str, tuple[int, ...]]:
    """Return the state of each database and index file: inode, size in bytes, time of change."""
    found = {}
    for file in (*palace.iterdir(), *palace.glob("*/*")):
        inside = file.parent != palace
        if inside and not is_segment_id(file.parent.name):
            continue
        if not inside and not file.name.startswith(tuple(STORES)):
            continue
        with suppress(OSError):
            status = file.stat()
            if stat.S_ISREG(status.st_mode):
                state = (status.st_ino, status.st_size, status.st_mtime_ns)
                found[str(file.relative_to(palace))] = state
    return found


def _with_database(
    reading: Reading, palace: Path, name: str, *, copy: bool, tell: Callable[[str], None]
) -> Reading:
    original = palace / name
    try:
        tell(f"reading {name}")
        with settled(original, copy=copy) as file:
            try:
                if name == DATABASE:
                    seen = survey(palace, database=file)
                    reading = _with_drawers(reading, seen, _row_types(file))
                tell(f"checking {name}")
                database, claims = _health(original, file)
            except AnatomyError as error:
                said = str(error).replace(str(file), str(original))
                raise AnatomyError(said, kind=error.kind) from None
    except AnatomyError as error:
        if error.kind in _SAY_NOTHING:
            raise
        if error.kind == "begun" and not _was_used(reading, name):
            claim = Claim("database-begun", "note", f"{name} has nothing in it yet.")
        else:
            claim = Claim("database-unreadable", "damage", f"{error}.")
        return replace(reading, claims=(*reading.claims, claim))
    return replace(
        reading,
        databases=(*reading.databases, database),
        claims=(*reading.claims, *claims),
    )


def _was_used(reading: Reading, name: str) -> bool:
    """Tell whether something else of the palace says that there was more in a database."""
    retained = reading.store is not None and reading.store.retained
    return name == DATABASE and (retained or any("/" in file for file in reading.before))


def _with_drawers(reading: Reading, seen: Survey, types: Mapping[str, set[str]]) -> Reading:
    opened = opened_by(seen.tables.migrations)
    claims = [
        Claim(one.kind, one.severity, one.sentence, one.collection, one.ids)
        for one in seen.findings
    ]
    if opened.newer_than_known:
        text = f"The tables are of {opened.words}: what is said here may be wrong."
        claims.append(Claim("release-unknown", "note", text))
    return replace(
        reading,
        collections=tuple(_drawers(each, types) for each in seen.collections),
        claims=(*reading.claims, *claims),
        opened=opened,
        rows_by=era(set().union(*types.values())),
        set_aside=tuple(each.name for each in seen.set_aside),
        strays=tuple(each.name for each in seen.strays),
    )


def _drawers(each: CollectionSurvey, types: Mapping[str, set[str]]) -> Drawers:
    index = each.segment.index if each.segment is not None else None
    settings = each.collection.settings
    known = each.collection.listed  # else chromadb finds none of them, and what is lost is not said
    return Drawers(
        name=each.name,
        rows=len(each.rows),
        rows_by=era(types.get(each.collection.metadata_segment or "", ())),
        in_index=len(each.index_ids),
        index_by=None if index is None else "0.x" if index.form == "class" else "1.x",
        log_records=len(each.collection.log),
        vector_watermark=_mark(each.vector_watermark),
        metadata_watermark=_mark(each.metadata_watermark),
        dimension=each.dimension,
        space=settings.space,
        sync_threshold=settings.sync_threshold,
        batch_size=settings.batch_size,
        segment=each.collection.vector_segment,
        unfindable=len(each.missing_from_index if known else each.rows),
        lost=len(each.unrecoverable) if known else 0,
        doubtful=len(each.doubtful) if known else 0,
    )


def _mark(watermark: Watermark | None) -> Mark | None:
    return None if watermark is None else Mark(watermark.storage, watermark.value)


def _row_types(file: Path) -> dict[str, set[str]]:
    """Return in which types each metadata segment's rows store their sequence numbers."""
    found: dict[str, set[str]] = {}
    query = "SELECT DISTINCT segment_id, typeof(seq_id) FROM embeddings"
    with open_database(file) as connection:
        if _has_table(connection, "embeddings"):
            for segment, storage in connection.execute(query):
                found.setdefault(str(segment), set()).add(str(storage))
    return found


def _health(original: Path, file: Path) -> tuple[Database, list[Claim]]:
    """Return what SQLite itself says of a file, read from `file`."""
    table = STORES[original.name]
    log = _size(f"{original}-wal")
    claims: list[Claim] = []
    with open_database(file) as connection:

        def number(pragma: str) -> int:
            return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])

        integrity, rows = _integrity(connection), None
        with suppress(sqlite3.DatabaseError):  # what is wrong then, its check has said
            claims += _foreign(connection, original.name)
            if _has_table(connection, table):
                query = f"SELECT count(*) FROM {table}"  # noqa: S608 - a name of ours
                rows = connection.execute(query).fetchone()[0]
        database = Database(
            file=original.name,
            size_bytes=_size(original),
            log_bytes=log,
            free_bytes=number("freelist_count") * number("page_size"),
            schema=number("user_version"),
            rows=rows,
            integrity=integrity,
        )
    if integrity not in ("ok", _UNFINISHED):
        text = f"SQLite says of {original.name}: {integrity}."
        claims.append(Claim("database-damaged", "damage", text))
    if log > LOG_BYTES_MAX and original.name != DATABASE:
        text = f"The log of {original.name} has {log} bytes: a reader keeps it from being emptied."
        claims.append(Claim("log-long", "warning", text))
    return database, claims


def _foreign(connection: sqlite3.Connection, name: str) -> Iterator[Claim]:
    """Yield what our library refuses a file of its own for."""
    if (ours := _SCHEMAS.get(name)) is None:
        return
    shape = shape_of(connection)
    if ours.newer(shape):
        text = f"{name} has schema {shape.version}, newer than this lab knows: it is refused here."
        yield Claim("release-unknown", "note", text)
    elif why := ours.strange(shape):
        yield Claim("database-foreign", "damage", f"{name} is none of palace_store: {why}.")


def _integrity(connection: sqlite3.Connection) -> str:
    try:
        said = connection.execute(f"PRAGMA integrity_check({_COMPLAINTS_MAX})").fetchall()
    except sqlite3.DatabaseError as error:
        return _UNFINISHED if "interrupted" in str(error) else str(error)
    return "; ".join(" ".join(str(line).split()) for (line,) in said)


def _has_table(connection: sqlite3.Connection, name: str) -> bool:
    query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
    return bool(connection.execute(query, (name,)).fetchone()[0])


def _size(path: Path | str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - of a path with a suffix
    except OSError:
        return 0


def _noted(palace: Path) -> Store | None:
    if not (palace / DIRECTORY / "state.json").is_file():
        return None
    try:
        state = read_state(palace)
    except OSError:
        return None
    return Store(state.chromadb, state.retained, state.open_flush)
