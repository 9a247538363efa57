"""S1: a search for many is answered, as far as the graph reaches, and says so if that is not far.

Asked for more drawers than its graph reaches from where a search begins, 0.x raises RuntimeError:
one drawer without a link to it is enough, where as many are asked for as there are (`linking`).
Nobody can tell that from a broken palace, and the nearest are all there. So fewer are asked for.
1.x turns each drawer of an answer with texts into an SQL variable, of which there are 32,766: asked
for as many it raises InternalError (1.0.21, 1.5.9; not for 32,000). So texts are read in parts.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from chromadb.api.types import validate_where
from chromadb.errors import InvalidArgumentError

from palace_store.client import IDS_AT_A_TIME, in_parts
from palace_store.errors import PalaceInputError
from palace_store.fixes import Fixes
from palace_store.incomplete import IncompleteIndexWarning

_REFUSED = "Cannot return the results"
#: What chromadb looks up in its tables, drawer by drawer.
_OF_ROWS = ("documents", "metadatas")


def answered(
    found: Any,
    vectors: Any,
    n: int,
    *columns: str,
    fixes: Fixes,
    where: Mapping[str, Any] | None = None,
) -> list[list[tuple[Any, ...]]]:
    """Return for each vector its up to `n` nearest, as `ids` and these columns.

    Warns with `IncompleteIndexWarning` where chromadb has to be asked for fewer. A drawer that is
    deleted meanwhile may be left out. Raises `PalaceInputError` for a `where` that is no filter.
    """
    if where is not None:
        check_where(where)
    if n > IDS_AT_A_TIME:
        n = min(n, max(1, int(found.count())))
    near = [name for name in columns if name not in _OF_ROWS]
    of_rows = [name for name in columns if name in _OF_ROWS]
    if n <= IDS_AT_A_TIME or not of_rows:
        return _answered(found, vectors, n, columns, fixes, where)
    answers = _answered(found, vectors, n, near, fixes, where)
    return [_with_rows(found, answer, columns, near, of_rows) for answer in answers]


def check_where(where: Any) -> None:
    """Refuse what chromadb takes for no filter; also operators nobody has, which 0.6.3 lets pass.

    Raises `PalaceInputError`.
    """
    try:
        validate_where(where)
    except ValueError as error:
        raise _no_filter(where, error) from None
    (key,) = where
    if key in ("$and", "$or"):
        for each in where[key]:
            check_where(each)
    elif key.startswith("$"):
        raise _no_filter(where, f"there is no operator {key!r:.40}")


def _no_filter(where: Any, why: object) -> PalaceInputError:
    return PalaceInputError(
        f"where is {where!r:.80}, which is no filter of chromadb's ({why}); nothing was searched"
    )


def _with_rows(
    found: Any,
    answer: Sequence[tuple[Any, ...]],
    columns: Sequence[str],
    near: Sequence[str],
    of_rows: Sequence[str],
) -> list[tuple[Any, ...]]:
    """Return an answer that has `near`, with all the columns in their order."""
    rows: dict[str, tuple[Any, ...]] = {}
    for part in in_parts([ident for ident, *_ in answer]):
        got = found.get(ids=part, include=of_rows)
        rows.update(
            zip(got["ids"], zip(*(got[name] for name in of_rows), strict=True), strict=True)
        )
    whole = []
    for ident, *values in answer:
        if ident in rows:
            value = dict(zip((*near, *of_rows), (*values, *rows[ident]), strict=True))
            whole.append((ident, *(value[name] for name in columns)))
    return whole


def _answered(
    found: Any,
    vectors: Any,
    n: int,
    columns: Sequence[str],
    fixes: Fixes,
    where: Mapping[str, Any] | None,
) -> list[list[tuple[Any, ...]]]:
    query = {"where": where, "include": list(columns)}
    try:
        return _rows(found.query(query_embeddings=vectors, n_results=n, **query), columns)
    except InvalidArgumentError as error:
        if where is None:
            raise
        raise _no_filter(where, error) from None
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
        stacklevel=5,
    )
