"""Turns what the tables alone say into findings: settings no release reads, rows of nobody.

Rules. What a column that is empty or not there would mean is chromadb's default. Measured on
0.5.23, 0.6.3, 1.0.21 and 1.5.9: with settings that are no JSON object `list_collections` fails, and
so does `get_collection` of that one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from palace_store.anatomy.findings import Finding, Severity, some
from palace_store.anatomy.records import Collection

_BYTES_MAX = 1 << 20


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


def ownerless(
    segments: Mapping[str, Mapping[str, object]], collections: Iterable[str]
) -> Iterator[Finding]:
    """Yield one finding for the collections that have segments and are in no table themselves."""
    known = set(collections)
    ids = tuple(each for each in segments if each not in known)
    if ids:
        text = f"{len(ids)} collections have segments, and are not in the table of collections"
        yield Finding("segment-ownerless", "warning", f"{text}: {some(ids)}.")


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
            text = f"{each.name}: the table of segments has none for its {' and '.join(lacks)}"
            used = each.dimension is not None or each.row_ids or each.log
            severity: Severity = "damage" if used else "warning"
            yield Finding("segment-unlisted", severity, f"{text}.", each.name)


def _object(text: object) -> dict[str, Any] | None:
    try:
        parsed = json.loads(text) if isinstance(text, str) and len(text) <= _BYTES_MAX else None
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None
