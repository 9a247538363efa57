"""S1: a search that chromadb 0.x refuses is answered as far as its graph reaches, and says so.

Asked for more drawers than its graph reaches from where a search begins, 0.x raises RuntimeError:
one drawer without a link to it is enough, where as many are asked for as there are (`linking`).
Nobody can tell that from a broken palace, and the nearest are all there. So fewer are asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from palace_store.fixes import Fixes
from palace_store.incomplete import IncompleteIndexWarning

_REFUSED = "Cannot return the results"


def answered(
    found: Any,
    vectors: Any,
    n: int,
    *columns: str,
    fixes: Fixes,
    where: Mapping[str, Any] | None = None,
) -> list[list[tuple[Any, ...]]]:
    """Return for each vector its up to `n` nearest, as `ids` and these columns.

    Warns with `IncompleteIndexWarning` where chromadb has to be asked for fewer.
    """
    query = {"where": where, "include": list(columns)}
    try:
        return _rows(found.query(query_embeddings=vectors, n_results=n, **query), columns)
    except RuntimeError as error:
        if _REFUSED not in str(error) or not fixes.has("relink"):
            raise
    answers, reached = [], n
    for vector in vectors:
        rows = _as_many_as_there_are(found, vector, n, columns, query)
        reached = min(reached, len(rows))
        answers.append(rows)
    _warn(found, n, reached)
    return answers


def _as_many_as_there_are(
    found: Any, vector: Any, n: int, columns: Sequence[str], query: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    """Ask for the most that is not refused, found by halving."""
    rows: list[tuple[Any, ...]] = []
    most = min(n, int(found.count()))
    refused = most + 1
    while len(rows) + 1 < refused:
        asked = most if refused > most else (len(rows) + refused) // 2
        try:
            answer = found.query(query_embeddings=[vector], n_results=asked, **query)
        except RuntimeError as error:
            if _REFUSED not in str(error):
                raise
            refused = asked
        else:
            (rows,) = _rows(answer, columns)
            if len(rows) < asked:  # a filter leaves no more
                break
    return rows


def _rows(answer: Mapping[str, Any], columns: Sequence[str]) -> list[list[tuple[Any, ...]]]:
    parts = zip(*(answer[name] for name in ("ids", *columns)), strict=True)
    return [list(zip(*part, strict=True)) for part in parts]


def _warn(found: Any, n: int, reached: int) -> None:
    rows = int(found.count())
    warnings.warn(
        IncompleteIndexWarning(
            f"chromadb refused to search {found.name!r} for {n} of its {rows} drawers, for its "
            f"graph does not reach so many; the nearest {reached} that it reaches were "
            "answered, and others may be missing among them",
            collection=found.name,
            ids=(),
            rows=rows,
        ),
        stacklevel=4,
    )
