"""Finds a collection's index settings: chromadb has kept them in four places over its releases.

Rules. Order of belief: the segment's metadata (only 0.x writes it), schema_str (1.3 and later), the
``hnsw`` part of config_json_str (1.0), the collection's metadata, 0.x's config_json_str, chromadb's
default. Measured on 1.0.21, 1.3.7, 1.5.5 and 1.5.9: where metadata and configuration disagree, what
is written in schema or configuration is what chromadb computes with, also after metadata was
replaced. What does not parse is passed over: settings never make a palace unreadable.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_JSON_BYTES_MAX = 1 << 20
_DEFAULTS: dict[str, Any] = {
    "space": "l2",
    "sync_threshold": 1000,
    "batch_size": 100,
    "max_neighbors": 16,
}
#: What one name is called elsewhere.
_ALSO = {"max_neighbors": "M"}


@dataclass(frozen=True)
class IndexSettings:
    """Distance (``l2``, ``cosine`` or ``ip``), thresholds in log records, and ``hnsw:M``."""

    space: str
    sync_threshold: int
    batch_size: int
    neighbours: int


def _object(text: object) -> Mapping[str, Any]:
    if not isinstance(text, str) or len(text) > _JSON_BYTES_MAX:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _inner(value: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    for key in path:
        found = value.get(key)
        if not isinstance(found, dict):
            return {}
        value = found
    return value


def _from_schema(text: object) -> Mapping[str, Any]:
    schema = _object(text)
    for path in (("keys", "#embedding"), ("defaults",)):
        config = _inner(schema, *path, "float_list", "vector_index", "config")
        if config:
            return {**_inner(config, "hnsw"), "space": config.get("space")}
    return {}


def _by_owner(rows: Iterable[tuple[Any, ...]]) -> dict[str, dict[str, Any]]:
    owners: dict[str, dict[str, Any]] = {}
    for owner, key, text, number in rows:
        if isinstance(key, str) and key.startswith("hnsw:"):
            value = text if text is not None else number
            owners.setdefault(str(owner), {})[key.removeprefix("hnsw:")] = value
    return owners


def index_settings(
    collection_metadata: Iterable[tuple[Any, ...]], segment_metadata: Iterable[tuple[Any, ...]]
) -> Callable[[str, str | None, object, object], IndexSettings]:
    """Return a function of (collection id, vector segment id, config_json_str, schema_str).

    Both arguments yield (owner id, key, text value, integer value).
    """
    by_collection, by_segment = _by_owner(collection_metadata), _by_owner(segment_metadata)

    def settings(
        collection: str, segment: str | None, config: object, schema: object
    ) -> IndexSettings:
        parsed = _object(config)
        places = (
            by_segment.get(segment or "", {}),
            _from_schema(schema),
            _inner(parsed, "vector_index", "hnsw"),
            _inner(parsed, "hnsw"),
            by_collection.get(collection, {}),
            _inner(parsed, "hnsw_configuration"),
            _DEFAULTS,
        )

        def first(key: str) -> Any:
            kind = type(_DEFAULTS[key])
            values = (
                place[word]
                for place in places
                for word in (key, _ALSO.get(key, key))
                if isinstance(place.get(word), kind)
            )
            return next(values)

        return IndexSettings(
            first("space"), first("sync_threshold"), first("batch_size"), first("max_neighbors")
        )

    return settings
