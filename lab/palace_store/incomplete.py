"""S1: a search over an index that is known to lack drawers says so, and which ones.

Rows whose vector is in no file (`adoption`, `salvage`) are listed and counted, and a search simply
never returns them; nor those no link of the index leads to (`linking`), where writing them again
did not help or was put off. Rules:

- Only a palace that lacks vectors is examined, once for each store, before the answer of its first
  search is handed out. That takes Python's SQLite, so the client is closed for it and opened again.
- Only drawers whose vector is in no file are named: for these it is certain, so there may be more.
  A vector of an index that two processes wrote may also belong to another drawer.
- What is said is what the files, or the graph, held at that moment. Drawers written since are
  findable; a drawer that was missing stays named until it is looked for again.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from palace_store.anatomy import AnatomyError, survey
from palace_store.client import existing, present, seat_of
from palace_store.retention import database
from palace_store.session import Session


class IncompleteIndexWarning(UserWarning):
    """No search finds `ids`, of the `rows` drawers of `collection`."""

    def __init__(self, message: str, *, collection: str, ids: tuple[str, ...], rows: int) -> None:
        super().__init__(message)
        self.collection = collection
        self.ids = ids
        self.rows = rows

    @property
    def missing(self) -> int:
        """Return how many drawers are named."""
        return len(self.ids)


class Incomplete:
    """What one store knows about drawers that its searches cannot find."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._found: dict[str, IncompleteIndexWarning] | None = None

    def warn(self, collection: str, *, stacklevel: int) -> None:
        """Warn if the collection lacks drawers; call outside of any operation of the session."""
        for warning in self.about(collection):
            warnings.warn(warning, stacklevel=stacklevel + 1)

    def about(self, collection: str) -> list[IncompleteIndexWarning]:
        """Return what is to be said; call outside of any operation of the session."""
        seat = seat_of(self._session.palace)
        if self._found is None and seat.lossy:
            with self._session.reading(None):
                seat.leave()
                self._found = _examine(self._session.palace)
        known = (self._found or {}).get(collection)
        said = [] if known is None else [known]
        if unfound := seat.unfound.get(collection):
            said += _unlinked(self._session, collection, sorted(unfound))
        return said


def _examine(palace: Path) -> dict[str, IncompleteIndexWarning]:
    """Return what is to be said of each collection that lacks drawers; no client may be open.

    A palace that cannot be read gives nothing: whoever opens it next meets the error itself.
    """
    with database(palace):
        pass  # waits until the client has let go, and rolls back what a dead writer left
    try:
        found = survey(palace, deep=False).collections
    except AnatomyError:
        return {}
    return {
        each.name: _warning(palace, each.name, each.unserved, len(each.rows))
        for each in found
        if each.unserved
    }


def _unlinked(session: Session, collection: str, ids: list[str]) -> list[IncompleteIndexWarning]:
    with session.reading(collection) as client:
        found = existing(client, collection)
        if found is None or not (there := tuple(sorted(present(found, ids)))):
            return []
        rows = int(found.count())
    return [
        IncompleteIndexWarning(
            f"{len(there)} or more of the {rows} drawers of {collection!r} in {session.palace} are "
            "found by no search: no link of chromadb's index led to them when it was looked "
            f"through; `get` has them (first: {there[0]!r})",
            collection=collection,
            ids=there,
            rows=rows,
        )
    ]


def _warning(
    palace: Path, collection: str, ids: tuple[str, ...], rows: int
) -> IncompleteIndexWarning:
    return IncompleteIndexWarning(
        f"{len(ids)} or more of the {rows} drawers of {collection!r} in {palace} are found by no "
        "search: their vectors are in no file that chromadb reads; `get` still has their "
        f"documents, so write them again from those (first: {ids[0]!r})",
        collection=collection,
        ids=ids,
        rows=rows,
    )
