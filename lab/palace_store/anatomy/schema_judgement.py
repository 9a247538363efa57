"""Holds the tables against the record of how they were made, and against each other's owners.

Rules. A table is missed only where the migration that makes it is on record, so a palace that was
merely begun, or is of an older release, gives nothing. Measured on 0.6.3 and 1.5.9: without any of
these tables, or without the record of one of three parts, no collection opens; nor does one whose
database, or its tenant, is in no table.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from palace_store.anatomy.findings import Finding, found

#: Tables without which chromadb fails, by the migration that makes them: part, and its number.
_MADE: Mapping[tuple[str, int], tuple[str, ...]] = {
    ("sysdb", 2): ("collection_metadata", "segment_metadata"),
    ("sysdb", 4): ("tenants", "databases"),
    ("metadb", 1): ("embeddings", "embedding_metadata", "max_seq_id"),
    ("metadb", 3): ("embedding_fulltext_search", "embedding_fulltext_search_content"),
    ("embeddings_queue", 1): ("embeddings_queue",),
    ("embeddings_queue", 2): ("embeddings_queue_config",),
}
#: A table of each part, which shows that it was begun, and its last migration that is known here.
_BEGUN = {
    "sysdb": ("segments", 10),
    "metadb": ("embeddings", 6),
    "embeddings_queue": ("embeddings_queue", 2),
}


def incomplete(
    tables: Collection[str], migrations: Iterable[tuple[str, int, str]]
) -> Iterator[Finding]:
    """Yield one finding for tables that are missing, and one for what is missing of the record.

    `tables` are the names of all there are; a migration has its part, number and file.
    """
    recorded: dict[str, set[int]] = {}
    for part, number, _ in migrations:
        recorded.setdefault(part, set()).add(number)
    missing = [
        name
        for (part, number), names in _MADE.items()
        for name in names
        if max(recorded.get(part, ()), default=0) >= number and name not in tables
    ]
    if missing:
        text = f"tables that chromadb has made are missing: {', '.join(missing)}"
        yield from found("tables-incomplete", "damage", f"{text}; it opens no collection")
    gaps = []
    for part, (table, known) in _BEGUN.items():
        last = max(recorded.get(part, ()), default=1)
        if table in tables and not recorded.get(part, set()) >= {*range(1, min(last, known) + 1)}:
            gaps.append(part)
    if gaps:
        text = f"the table of migrations has not all of how {', '.join(gaps)} came about"
        yield from found("tables-incomplete", "damage", f"{text}, and chromadb opens nothing")


def without_owner(
    collections: Iterable[tuple[Any, ...]],
    databases: Mapping[object, tuple[object, ...]],
    tenants: Collection[object],
) -> Iterator[Finding]:
    """Yield what chromadb does not find: collections without their database, it without its tenant.

    A collection is its name and its database's id, None where a release has none; a database is
    its tenant's id and its name, `databases` maps ids to them.
    """
    for name, database in collections:
        if database is not None and database not in databases:
            text = f"{name}: its database is in no table, so chromadb says there is no collection"
            yield Finding("owner-missing", "damage", f"{text}.", name)
    for tenant, called in databases.values():
        if tenant not in tenants:
            text = (
                f"the tenant {str(tenant)[:80]!r} of database {str(called)[:80]!r} is in no table"
            )
            yield from found("owner-missing", "damage", f"{text}, and chromadb opens neither")
