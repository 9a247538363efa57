"""Turns what the tables alone say into findings: settings no release reads, rows of nobody.

Rules. What a column that is empty or not there would mean is chromadb's default. Measured on
0.5.23, 0.6.3, 1.0.21 and 1.5.9: with settings that are no JSON object `list_collections` fails, and
so does `get_collection` of that one.
"""

from __future__ import annotations

import json
from collections.abc import Collection as Collection_
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from palace_store.anatomy.findings import Finding, Severity, found
from palace_store.anatomy.records import Collection, Era

_BYTES_MAX = 1 << 20

#: What a palace on disk has as segments, by scope. Measured with another: no release opens it.
_TYPES: Mapping[str, Collection_[str]] = {
    "VECTOR": (
        "urn:chroma:segment/vector/hnsw-local-persisted",
        "urn:chroma:segment/vector/hnsw-local-memory",
    ),
    "METADATA": ("urn:chroma:segment/metadata/sqlite",),
}


def full_name(name: str, database: tuple[object, ...] | None) -> str:
    """Return the name alone in chromadb's default tenant and database, else with theirs before."""
    if database is None or database == ("default_tenant", "default_database"):
        return name
    return "/".join((*map(str, database), name))


def queue_config(texts: Iterable[object], findings: list[Finding]) -> Mapping[str, Any] | None:
    """Return the settings of the log, None without; what cannot be read is added to `findings`."""
    config: Mapping[str, Any] | None = None
    for text in texts:
        parsed = _object(text)
        if parsed is not None:
            config = parsed
        else:
            sentence = "embeddings_queue_config does not hold a JSON object."
            findings.append(Finding("config-unreadable", "warning", sentence))
    return config


def unreadable_settings(name: str, config: object, schema: object) -> Iterator[Finding]:
    """Yield what keeps chromadb from opening a collection, and from listing any."""
    columns = {"config_json_str": config, "schema_str": schema}
    bad = [column for column, text in columns.items() if text is not None and _object(text) is None]
    if schema is not None and not bad and not _object(schema):
        bad = ["schema_str"]
    if bad:
        text = f"{name}: {bad[0]} of the collection does not hold a JSON object that chromadb reads"
        yield Finding("config-unreadable", "damage", f"{text}, and it lists no collection.", name)


def by_scope(
    rows: Iterable[tuple[str, object, str, str]], written: Collection_[str]
) -> tuple[dict[str, dict[str, str]], frozenset[str]]:
    """Return the segments of each collection by scope, and which collections have two of one.

    A row is a segment's id, type, scope and collection; a type nothing opens counts as no segment.
    Of two, 0.6.3 takes the lower id and 1.5.9 now one, now the other: that with a watermark (of
    those `written`) is returned, for it was used.
    """
    result: dict[str, dict[str, str]] = {}
    twice = set()
    for segment, kind, scope, collection in sorted(rows, key=lambda row: row[0]):
        scopes = result.setdefault(collection, {})
        if kind not in _TYPES.get(scope, (kind,)):
            continue
        if scope in scopes:
            twice.add(collection)
        if scope not in scopes or (segment in written and scopes[scope] not in written):
            scopes[scope] = segment
    return result, frozenset(twice)


def ownerless(
    segments: Mapping[str, Mapping[str, str]],
    collections: Iterable[str],
    in_use: Collection_[str],
    era: Era,
) -> Iterator[Finding]:
    """Yield findings for the collections that have segments and are in no table themselves.

    `in_use` are segments with rows or a watermark, and collections with records in the log. Where
    a database is deleted chromadb leaves the segments of its collections, and 0.x all that they
    have (measured: 0.6.3, 1.0.21, 1.3.7, 1.5.5 and 1.5.9).
    """
    gone = set(segments) - set(collections)
    full = {each for each in gone if not {each, *segments[each].values()}.isdisjoint(in_use)}
    of_full: Severity = "note" if era == "blob" else "warning"
    told: tuple[tuple[set[str], Severity, str], ...] = (
        (gone - full, "note", "empty segments"),
        (full, of_full, "segments with all that they hold"),
    )
    for ids, severity, what in told:
        if ids:
            text = f"{len(ids)} collections are not in the table of collections, but their {what}"
            yield from found("segment-ownerless", severity, f"{text} are", tuple(sorted(ids)))


def unlisted(collections: Iterable[Collection]) -> Iterator[Finding]:
    """Yield what segments without a row there are; chromadb opens no collection that lacks one.

    0.x makes a collection and its segments one after the other, so a death in between leaves one in
    which nothing was ever stored.
    """
    for each in collections:
        lacks = [
            what
            for what, segment in (("vectors", each.vector_segment), ("rows", each.metadata_segment))
            if segment is None
        ]
        if lacks:
            lacking = " and ".join(lacks)
            text = f"{each.name}: the table of segments has none that opens for its {lacking}"
            used = each.dimension is not None or each.row_ids or each.log
            severity: Severity = "damage" if used else "warning"
            yield Finding("segment-unlisted", severity, f"{text}.", each.name)


def doubled(collections: Iterable[Collection]) -> Iterator[Finding]:
    """Yield the collections with two segments for one thing; nothing else is said of their index.

    No release makes them; what each of two holds depends on what was done with which release.
    """
    for each in collections:
        if each.doubled:
            text = f"{each.name}: the table of segments has two for its vectors, or for its rows"
            rest = "which one chromadb uses differs, so nothing is said of what it would find"
            yield Finding("segment-twice", "damage", f"{text}; {rest}.", each.name)


def _object(text: object) -> dict[str, Any] | None:
    try:
        parsed = json.loads(text) if isinstance(text, str) and len(text) <= _BYTES_MAX else None
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None
