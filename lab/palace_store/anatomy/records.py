"""The plain records that chroma.sqlite3 holds, as the rest of anatomy sees them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from palace_store.anatomy.findings import Finding
from palace_store.anatomy.settings import IndexSettings

#: `LogRecord.operation`.
ADD, UPDATE, UPSERT, DELETE = range(4)

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SEQ_ID_BYTES_MAX = 24
#: More records than any palace has seen; what a misread BLOB turns into is far above it.
SEQ_ID_LIMIT = 1 << 48

Era = Literal["blob", "integer"]


@dataclass(frozen=True)
class LogRecord:
    """One row of `embeddings_queue`. `vector_bytes` is its stored length, 0 when it has none."""

    seq_id: int
    operation: int
    id: str
    vector: bytes | None
    vector_bytes: int
    encoding: str | None


@dataclass(frozen=True)
class Watermark:
    """One row of `max_seq_id`: the SQL type it is stored as, and its number if it has one."""

    segment: str
    storage: str
    value: int | None

    def within(self, log_last: int | None) -> bool:
        """Tell whether the log can have gone so far; an emptied log can have gone anywhere."""
        end = SEQ_ID_LIMIT - 1 if log_last is None else log_last
        return self.value is not None and self.value <= end


@dataclass(frozen=True)
class Collection:
    """A collection with its segments, rows in order of insertion, and log in order of writing.

    `name` is `tenant/database/name` outside of chromadb's default tenant and database.
    `row_seq_ids` has -1 where a sequence number could not be decoded. `doubled` says that there is
    a second segment for its vectors or for its rows.
    """

    id: str
    name: str
    dimension: int | None
    settings: IndexSettings
    vector_segment: str | None
    metadata_segment: str | None
    row_ids: tuple[str, ...]
    row_seq_ids: tuple[int, ...]
    log: tuple[LogRecord, ...]
    doubled: bool = False

    @property
    def listed(self) -> bool:
        """Tell whether both of its segments are in the table of segments."""
        return self.vector_segment is not None and self.metadata_segment is not None


@dataclass(frozen=True)
class Tables:
    """What chroma.sqlite3 says. `era` is the type this schema gives to watermarks.

    `log_last` is the highest sequence number in the whole log, None when it is empty.
    `queue_config` is None where a release has none or it could not be read. `rows_of_nobody` are
    ids of rows whose segment is in no table: 0.x leaves those of a deleted collection.
    """

    path: Path
    era: Era
    migrations: tuple[tuple[str, int, str], ...]
    collections: tuple[Collection, ...]
    watermarks: Mapping[str, Watermark]
    queue_config: Mapping[str, Any] | None
    log_last: int | None
    segments: frozenset[str]
    findings: tuple[Finding, ...]
    rows_of_nobody: frozenset[str] = frozenset()

    @property
    def automatically_purge(self) -> bool:
        """Tell whether chromadb drops log records once both segments have them."""
        return bool((self.queue_config or {}).get("automatically_purge", False))


def decode_seq_id(value: object) -> int | None:
    """Return the number behind a stored sequence id, None if no release stores it like that."""
    if isinstance(value, int):
        return value
    if isinstance(value, bytes) and 0 < len(value) <= _SEQ_ID_BYTES_MAX:
        return int.from_bytes(value, "big")
    return None


def is_segment_id(name: str) -> bool:
    """Tell whether a segment's id has the form chromadb gives it, so that it names a directory."""
    return _UUID.fullmatch(name) is not None
