"""Reads the tables of chroma.sqlite3 that say what a palace holds.

Rules. Every release from 0.4.24 to 1.5.9 is read by the columns its tables have; a table that is
missing counts as empty, a view or virtual table in its place is refused. Sequence numbers are
decoded from INTEGER and from big-endian BLOB alike, and watermarks keep the type they had.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from palace_store.anatomy.database_file import open_database
from palace_store.anatomy.findings import AnatomyError, Finding
from palace_store.anatomy.records import (
    Collection,
    Era,
    LogRecord,
    Tables,
    Watermark,
    decode_seq_id,
)
from palace_store.anatomy.row_texts import beside_rows
from palace_store.anatomy.schema_judgement import incomplete, without_owner
from palace_store.anatomy.settings import index_settings
from palace_store.anatomy.table_judgement import (
    by_scope,
    doubled,
    full_name,
    ownerless,
    queue_config,
    unlisted,
    unreadable_settings,
)

#: A vector of 65,536 float32. A longer one is not loaded and counts as undecodable.
VECTOR_BYTES_MAX = 4 * 65_536


@dataclass
class _Reader:
    """The columns of one open database."""

    file: Path
    connection: sqlite3.Connection
    columns: dict[str, frozenset[str]] = field(default_factory=dict)
    names: frozenset[str] = frozenset()

    def load_schema(self) -> None:
        listed = self.connection.execute(
            "SELECT name, type, rootpage FROM sqlite_master WHERE type IN ('table', 'view')"
        ).fetchall()
        self.names = frozenset(str(name) for name, _, _ in listed)
        for name, kind, rootpage in listed:
            if name in _TABLES:
                if kind != "table" or not rootpage:
                    raise AnatomyError(f"{self.file}: {name} is not an ordinary table")
                info = self.connection.execute(f'PRAGMA table_info("{name}")').fetchall()
                self.columns[name] = frozenset(str(row[1]) for row in info)
        if "collections" not in self.columns or "segments" not in self.columns:
            # A process was killed while it made the tables; the next one goes on with them.
            half = "migrations" in self.columns and "embeddings" not in self.columns
            raise AnatomyError(
                f"{self.file} is not a chromadb database: it has no collections",
                kind="begun" if half or not listed else "unreadable",
            )

    def rows(self, table: str, wanted: str, *, order: str = "") -> Iterator[tuple[Any, ...]]:
        """Yield the wanted columns; one that this release lacks is NULL, and so is its table."""
        have = self.columns.get(table)
        if have is None:
            return
        picked = ", ".join(
            f'"{name}"' if name in have else f'NULL AS "{name}"' for name in wanted.split()
        )
        suffix = f" ORDER BY {order}" if order else ""
        # Names come from this module, never from the database.
        yield from self.connection.execute(f"SELECT {picked} FROM {table}{suffix}")  # noqa: S608

    def text(self, value: object, where: str) -> str:
        if not isinstance(value, str):
            raise AnatomyError(f"{self.file} is damaged: {where} is {type(value).__name__}")
        return value


_TABLES = {
    "migrations",
    "collections",
    "collection_metadata",
    "tenants",
    "databases",
    "segments",
    "segment_metadata",
    "embedding_fulltext_search_content",
    "embedding_metadata",
    "embeddings",
    "embeddings_queue",
    "embeddings_queue_config",
    "max_seq_id",
}


def read_tables(
    palace: str | os.PathLike[str],
    *,
    copy: bool = False,
    database: str | os.PathLike[str] | None = None,
) -> Tables:
    """Read the tables of a palace.

    `copy` reads a private copy of the database; `database` names a copy the caller already has.
    Raises `AnatomyError` for a palace that is not there, is no chromadb database, is torn, is
    locked, or is open in this process (see `assert_no_client`).
    """
    path = Path(palace)
    with open_database(database if database is not None else path, copy=copy) as connection:
        reader = _Reader(path, connection)
        try:
            reader.load_schema()
            return _read(reader)
        except (UnicodeError, OverflowError, MemoryError, RecursionError) as error:
            raise AnatomyError(f"{path} cannot be read: {error}") from None


def _read(reader: _Reader) -> Tables:
    findings: list[Finding] = []
    watermarks, era = _watermarks(reader)
    there = [
        (reader.text(segment, "a segment's id"), kind, str(scope), str(collection))
        for segment, kind, scope, collection in reader.rows("segments", "id type scope collection")
    ]
    known = frozenset(row[0] for row in there)
    segments, twice = by_scope(there, watermarks)
    rows = _rows(reader, findings)
    log, last = _log(reader)
    settings = index_settings(
        reader.rows("collection_metadata", "collection_id key str_value int_value"),
        reader.rows("segment_metadata", "segment_id key str_value int_value"),
    )
    collections = []
    databases = {row[0]: row[1:] for row in reader.rows("databases", "id tenant_id name")}
    for ident, own_name, dimension, config, schema, database in reader.rows(
        "collections", "id name dimension config_json_str schema_str database_id", order="rowid"
    ):
        name = full_name(reader.text(own_name, "a collection's name"), databases.get(database))
        scopes = segments.get(reader.text(ident, "a collection's id"), {})
        vector, metadata = scopes.get("VECTOR"), scopes.get("METADATA")
        ids = rows.get(metadata or "", {})
        findings += unreadable_settings(name, config, schema)
        collections.append(
            Collection(
                id=ident,
                name=name,
                dimension=dimension if isinstance(dimension, int) else None,
                settings=settings(ident, vector, config, schema),
                vector_segment=vector,
                metadata_segment=metadata,
                row_ids=tuple(ids),
                row_seq_ids=tuple(ids.values()),
                log=tuple(log.get(ident, ())),
                doubled=ident in twice,
            )
        )
    migrations = tuple(
        (str(folder), version if isinstance(version, int) else -1, str(name))
        for folder, version, name in reader.rows(
            "migrations", "dir version filename", order="dir, version"
        )
    )
    texts = [
        text for (text,) in reader.rows("embeddings_queue_config", "config_json_str", order="id")
    ]
    config_read = queue_config(texts, findings)
    in_use = {*rows, *watermarks, *log}
    findings += ownerless(segments, (each.id for each in collections), in_use, era)
    findings += unlisted(collections)
    findings += doubled(collections)
    findings += incomplete(reader.names, migrations)
    if reader.names >= {"databases", "tenants"}:
        tenants = {tenant for (tenant,) in reader.rows("tenants", "id")}
        findings += without_owner(
            reader.rows("collections", "name database_id"), databases, tenants
        )
    findings += beside_rows(reader.connection, reader.columns)
    return Tables(
        reader.file, era, migrations, tuple(collections), watermarks, config_read, last,
        known, tuple(findings),
        frozenset(name for segment, ids in rows.items() if segment not in known for name in ids),
    )  # fmt: skip


def _rows(reader: _Reader, findings: list[Finding]) -> dict[str, dict[str, int]]:
    rows: dict[str, dict[str, int]] = {}
    broken = []
    for segment, name, stored in reader.rows(
        "embeddings", "segment_id embedding_id seq_id", order="id"
    ):
        seq_id = decode_seq_id(stored)
        if seq_id is None:
            broken.append(str(name))
        ident = reader.text(name, "a row's embedding_id")
        rows.setdefault(str(segment), {})[ident] = -1 if seq_id is None else seq_id
    if broken:
        sentence = f"{len(broken)} rows of embeddings have a sequence number of unknown form."
        findings.append(Finding("seq-id-unreadable", "damage", sentence, None, tuple(broken)))
    return rows


def _log(reader: _Reader) -> tuple[dict[str, list[LogRecord]], int | None]:
    log: dict[str, list[LogRecord]] = {}
    last: int | None = None
    for seq_id, operation, topic, name, vector, encoding in reader.rows(
        "embeddings_queue", "seq_id operation topic id vector encoding", order="seq_id"
    ):
        if not isinstance(seq_id, int):
            raise AnatomyError(f"{reader.file} is damaged: a log record has no number")
        last = seq_id
        size = len(vector) if isinstance(vector, bytes) else 0
        record = LogRecord(
            seq_id=seq_id,
            operation=operation if isinstance(operation, int) else -1,
            id=reader.text(name, f"log record {seq_id}'s id"),
            vector=vector if 0 < size <= VECTOR_BYTES_MAX else None,
            vector_bytes=size,
            encoding=encoding if isinstance(encoding, str) else None,
        )
        # The topic ends in the collection's id: persistent://tenant/namespace/<uuid>.
        log.setdefault(str(topic).rpartition("/")[2], []).append(record)
    return log, last


def _watermarks(reader: _Reader) -> tuple[dict[str, Watermark], Era]:
    found: dict[str, Watermark] = {}
    if "max_seq_id" not in reader.columns:
        return found, "blob"
    declared = {
        str(row[1]): str(row[2]).upper()
        for row in reader.connection.execute("PRAGMA table_info(max_seq_id)")
    }
    era: Era = "integer" if "INT" in declared.get("seq_id", "") else "blob"
    query = "SELECT segment_id, typeof(seq_id), seq_id FROM max_seq_id"
    for segment, storage, value in reader.connection.execute(query):
        found[str(segment)] = Watermark(str(segment), str(storage), decode_seq_id(value))
    return found, era
