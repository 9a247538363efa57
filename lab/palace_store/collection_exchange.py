"""One collection takes the place of another, in one transaction of SQLite (S3).

chromadb can rename a collection, one at a time: between two renames no collection of that name
would be there, and who asks for it makes an empty one. A name is in one row of one table, the same
from 0.5 to 1.5, so both change at once here. Only for who is alone in the palace, without a client;
connections are those of `retention.database`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from palace_store.client import Client, existing, names_of
from palace_store.errors import PalaceInputError

#: In the metadata of a collection that is made aside, or was replaced: the name it is about.
ASIDE_FOR = "aside_for"
#: What 1.x keeps of an index in a collection's configuration; the same in metadata, and by default.
_INDEX = {
    "space": ("hnsw:space", "l2"),
    "ef_construction": ("hnsw:construction_ef", 100),
    "ef_search": ("hnsw:search_ef", 100),
    "max_neighbors": ("hnsw:M", 16),
    "resize_factor": ("hnsw:resize_factor", 1.2),
    "sync_threshold": ("hnsw:sync_threshold", 1000),
}
_RENAME = "UPDATE collections SET name = ? WHERE id = (SELECT id FROM named WHERE name = ?)"


def exchange(connection: sqlite3.Connection, name: str, *, new: str, old: str) -> None:
    """Let `new` be called `name`, and what was called so `old`."""
    connection.execute(_RENAME, (old, name))
    connection.execute(_RENAME, (name, new))
    label(connection, old, {ASIDE_FOR: name})
    connection.execute(
        "DELETE FROM collection_metadata WHERE key = ? AND collection_id = "
        "(SELECT id FROM named WHERE name = ?)",
        (ASIDE_FOR, name),
    )


def label(connection: sqlite3.Connection, name: str, labels: Mapping[str, str]) -> None:
    """Write metadata of a collection."""
    for key, value in labels.items():
        connection.execute(
            "INSERT OR REPLACE INTO collection_metadata (collection_id, key, str_value) "
            "SELECT id, ?, ? FROM named WHERE name = ?",
            (key, value, name),
        )


def index_of_segment(connection: sqlite3.Connection, collection: str) -> dict[str, Any]:
    """Return the settings that 0.x wrote beside the index of a collection (by id), {} in 1.x.

    They are what the index is computed with, also after the collection's metadata was replaced.
    """
    rows = connection.execute(
        "SELECT m.key, coalesce(m.str_value, m.int_value, m.float_value) FROM segment_metadata m "
        "JOIN segments s ON s.id = m.segment_id AND s.scope = 'VECTOR' "
        "WHERE s.collection = ? AND m.key LIKE 'hnsw:%'",
        (collection,),
    )
    return dict(rows.fetchall())


def settings_of(collection: Any, of_segment: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what `create_collection` has to be given for another collection to be like this one.

    From 1.0 on the settings of an index may be in a configuration beside the metadata; it is left
    out where the metadata alone says the same, as it does in 0.x and in our own collections. What
    `index_of_segment` gives is believed before both.
    """
    kept = of_segment or {}
    metadata = {**(collection.metadata or {}), **kept}
    index = dict((getattr(collection, "configuration_json", None) or {}).get("hnsw") or {})
    index |= {name: kept[key] for name, (key, _) in _INDEX.items() if key in kept}
    said = {name: metadata.get(*where) for name, where in _INDEX.items()}
    if all(index.get(name, value) == value for name, value in said.items()):
        return {"metadata": metadata}
    return {"metadata": metadata, "configuration": {"hnsw": index}}


def may_measure_by(collection: Any, space: str) -> bool:
    """Tell whether a collection may compute with a distance: its metadata or configuration say so.

    Where both say something, 1.x believes its configuration, but not that of a collection which 0.x
    has made; which one that is cannot be seen here.
    """
    configured = (getattr(collection, "configuration_json", None) or {}).get("hnsw") or {}
    return space in ((collection.metadata or {}).get("hnsw:space"), configured.get("space"))


def original(client: Client, name: str) -> Any:
    """Return the collection that is to be replaced, or say that there is none (any more)."""
    found = existing(client, name)
    if found is None:
        raise PalaceInputError(
            f"there is no collection {name!r} to embed anew; nothing was changed"
        )
    return found


def collections_aside(client: Client, name: str) -> list[str]:
    """Return the collections that were made to take this one's place, or gave it up."""
    return [each for each in names_of(client) if _metadata(client, each).get(ASIDE_FOR) == name]


def _metadata(client: Client, name: str) -> Mapping[str, Any]:
    found = existing(client, name)
    return {} if found is None else found.metadata or {}
