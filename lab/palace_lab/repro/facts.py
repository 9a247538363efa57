"""What one reading of a palace says, as plain data that goes from one process to another.

Rules. Facts and claims only: nobody has asked yet whether a claim stands, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from palace_lab.repro.release import OpenedBy
from palace_store.anatomy.findings import Severity

Form = Literal["0.x", "1.x"]


@dataclass(frozen=True)
class Mark:
    """A watermark: the type it is stored as, and its number if it has one."""

    storage: str
    value: int | None


@dataclass(frozen=True)
class Claim:
    """Something that is wrong, before anybody has asked whether it stays so."""

    kind: str
    severity: Severity
    sentence: str
    collection: str | None = None
    ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drawers:
    """One collection in numbers. `rows_by` and `index_by` are the eras of who wrote them last."""

    name: str
    rows: int
    rows_by: str | None
    in_index: int
    index_by: Form | None
    log_records: int
    vector_watermark: Mark | None
    metadata_watermark: Mark | None
    dimension: int | None
    space: str
    sync_threshold: int
    batch_size: int
    segment: str | None
    unfindable: int
    lost: int
    doubtful: int


@dataclass(frozen=True)
class Database:
    """One SQLite file. `integrity` is "ok", SQLite's complaints, or why it was not looked at.

    `rows` are what a person has stored in it, None where it has no such table; `free_bytes` are
    pages that will be used again.
    """

    file: str
    size_bytes: int
    log_bytes: int
    free_bytes: int
    schema: int
    rows: int | None
    integrity: str


@dataclass(frozen=True)
class Store:
    """What `palace_store` noted in the palace, where it has ever used it."""

    chromadb: str
    retained: bool
    open_changes: tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """All of it. `before` and `after` are the states of each file, by its path in the palace.

    `weight` has `apparent_bytes` and `allocated_bytes` of everything in it.
    """

    databases: tuple[Database, ...] = ()
    collections: tuple[Drawers, ...] = ()
    claims: tuple[Claim, ...] = ()
    opened: OpenedBy | None = None
    rows_by: str | None = None
    set_aside: tuple[str, ...] = ()
    strays: tuple[str, ...] = ()
    store: Store | None = None
    weight: Mapping[str, int] = field(default_factory=dict)
    before: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    after: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def moved(self) -> bool:
        """Tell whether a database or index file changed while it was read."""
        return self.before != self.after
