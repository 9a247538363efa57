"""Holds the rows against their metadata, and both against the full-text index.

Rules. Every release deletes a row, its metadata and its text in one transaction, and a row may have
neither metadata nor text: only what belongs to no row, or is either in the full-text index or in
the metadata alone, is a contradiction. Releases up to 0.4.24 leave the texts of deleted rows in the
full-text index (measured: 26 of 243); where there are any, what it has proves nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping

from palace_store.anatomy.findings import Finding, found

_TEXTS = "embedding_fulltext_search_content"
_NEEDED: Mapping[str, Collection[str]] = {
    "embeddings": {"id", "embedding_id"},
    "embedding_metadata": {"id", "key", "string_value"},
    _TEXTS: {"id"},
}

_NO_ROW = "WHERE id NOT IN (SELECT id FROM embeddings)"
_ROWLESS = f"SELECT COUNT(DISTINCT id) FROM embedding_metadata {_NO_ROW}"  # noqa: S608 - ours
_LEFT_OVER = (
    f"SELECT 1 FROM {_TEXTS} {_NO_ROW} "  # noqa: S608 - ours
    "AND id NOT IN (SELECT id FROM embedding_metadata) LIMIT 1"
)
_TEXTLESS = (
    f"SELECT embedding_id FROM embeddings JOIN {_TEXTS} USING (id) WHERE id NOT IN "  # noqa: S608
    "(SELECT id FROM embedding_metadata WHERE key = 'chroma:document') ORDER BY id"
)
_UNINDEXED = (
    "SELECT embedding_id FROM embeddings JOIN embedding_metadata USING (id) "  # noqa: S608
    "WHERE key = 'chroma:document' AND string_value IS NOT NULL AND id NOT IN "
    f"(SELECT id FROM {_TEXTS}) ORDER BY id"
)


def beside_rows(
    connection: sqlite3.Connection, columns: Mapping[str, Collection[str]]
) -> Iterator[Finding]:
    """Yield what metadata and texts say about rows; nothing where a release has no such columns."""
    there = {name for name, needed in _NEEDED.items() if set(columns.get(name, ())) >= set(needed)}
    if not there >= {"embeddings", "embedding_metadata"}:
        return
    (rows,) = connection.execute(_ROWLESS).fetchone()
    if rows:
        text = f"{rows} rows have text or metadata in embedding_metadata and are not in embeddings"
        yield from found("row-missing", "damage", f"{text}, so that nothing finds or counts them")
    if _TEXTS not in there:
        return
    names = tuple(str(name) for (name,) in connection.execute(_UNINDEXED))
    if names:
        text = f"{len(names)} rows have a text that no search for words finds"
        yield from found("text-unindexed", "warning", f"{text}, for the index lacks it", names)
    if connection.execute(_LEFT_OVER).fetchone():
        return
    names = tuple(str(name) for (name,) in connection.execute(_TEXTLESS))
    if names:
        text = f"{len(names)} rows are in the full-text index and have no text in their metadata"
        yield from found("text-missing", "damage", text, names)
