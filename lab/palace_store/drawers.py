"""Drawers in chromadb that several processes can share: add, upsert, delete, get, search, count.

What makes sharing safe is in `session`; this module is the part an application calls. Vectors come
from the caller, so that no embedding model is loaded or downloaded here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from palace_store.client import Client, existing, in_parts, names_of, queries_in_parts
from palace_store.collection_exchange import may_measure_by
from palace_store.errors import PalaceInputError
from palace_store.fixes import Fixes
from palace_store.incomplete import Incomplete
from palace_store.recovery import dimension_of, without_vector
from palace_store.session import Session
from palace_store.state import place_of
from palace_store.validation import (
    check_documents,
    check_fit,
    check_ids,
    check_metadatas,
    check_name,
    check_settings,
    check_size,
    check_vectors,
)
from palace_store.wide_search import answered


@dataclass(frozen=True)
class Drawer:
    """One memory as it was stored."""

    id: str
    document: str | None
    metadata: dict[str, Any] | None


@dataclass(frozen=True)
class Found:
    """One answer of a search; smaller distances are nearer."""

    id: str
    distance: float
    document: str | None


@final
class DrawerStore:
    """The drawers of one palace, in as many collections as are named.

    `sync_threshold` and `batch_size` are chromadb's, in drawers, for collections made here: how
    many changes pass before the index is written to disk, and before it takes them up.
    `lease_timeout_s` bounds every wait for another process. `admit` may refuse, by raising, that
    a collection of this name (None: a new one) is written or searched, `admit_rows` that what it
    has is searched: asked once, and again when another process has written.
    """

    def __init__(
        self,
        palace: Path | str,
        *,
        fixes: Fixes | None = None,
        lease_timeout_s: float = 60.0,
        space: str = "cosine",
        sync_threshold: int = 1000,
        batch_size: int = 100,
        stale_seconds: float = 3600.0,
        admit: Callable[[Any, str], None] = lambda _collection, _name: None,
        admit_rows: Callable[[Any, str], None] = lambda _collection, _name: None,
    ) -> None:
        check_settings(space, sync_threshold, batch_size)
        self.palace = place_of(palace)
        self.session = Session(
            self.palace,
            Fixes.all() if fixes is None else fixes,
            lease_timeout_s=lease_timeout_s,
            stale_seconds=stale_seconds,
        )
        self.settings = {
            "hnsw:space": space,
            "hnsw:sync_threshold": sync_threshold,
            "hnsw:batch_size": batch_size,
        }
        self._admit, self._admit_rows = admit, admit_rows
        self._known: tuple[Client | None, dict[str, Any]] = (None, {})
        self.incomplete = Incomplete(self.session)

    def __enter__(self) -> DrawerStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Open now instead of at the first operation; mends what a dead writer left."""
        with self.session.reading(None):
            pass

    def close(self) -> None:
        """Close the client; the store opens again when it is used again."""
        self.session.close()

    def hold(self, term_s: float = 60.0) -> AbstractContextManager[None]:
        """Keep the palace over several operations, for up to `term_s` seconds."""
        return self.session.hold(term_s)

    def add(
        self,
        ids: Sequence[str],
        vectors: Sequence[Sequence[float]],
        *,
        documents: Sequence[str | None] | None = None,
        metadatas: Sequence[dict[str, Any] | None] | None = None,
        collection: str = "drawers",
    ) -> None:
        """Add drawers; an id that is there already keeps what it has (as chromadb's own add)."""
        self._write("add", ids, vectors, documents, metadatas, collection)

    def upsert(
        self,
        ids: Sequence[str],
        vectors: Sequence[Sequence[float]],
        *,
        documents: Sequence[str | None] | None = None,
        metadatas: Sequence[dict[str, Any] | None] | None = None,
        collection: str = "drawers",
    ) -> None:
        """Add drawers or replace the ones with these ids. Safe to repeat after an unknown end."""
        self._write("upsert", ids, vectors, documents, metadatas, collection)

    def delete(self, ids: Sequence[str], *, collection: str = "drawers") -> None:
        """Delete drawers; ids that are not there are passed over."""
        wanted = check_ids(ids)
        with self.session.changing(
            check_name(collection),
            lambda client: check_size(len(wanted), client.get_max_batch_size()),
        ) as client:
            found = existing(client, collection)
            if found is not None:
                found.delete(ids=wanted)

    def get(self, ids: Sequence[str] | None = None, *, collection: str = "drawers") -> list[Drawer]:
        """Return the drawers with these ids, or all; a collection nobody made has none."""
        wanted = None if ids is None else check_ids(ids)
        drawers: list[Drawer] = []
        with self.session.reading(check_name(collection)) as client:
            found = existing(client, collection)
            if found is None:
                return []
            # 1.5.9 refuses all of 32,766 drawers or more at once where they have metadata.
            for part in in_parts(found.get(include=[])["ids"] if wanted is None else wanted):
                answer = found.get(ids=part, include=["documents", "metadatas"])
                columns = (answer["ids"], answer["documents"], answer["metadatas"])
                drawers += [Drawer(*drawer) for drawer in zip(*columns, strict=True)]
        return drawers

    def search(
        self, vectors: Sequence[Sequence[float]], *, n: int = 10, collection: str = "drawers"
    ) -> list[list[Found]]:
        """Return for each vector its up to `n` nearest drawers, nearest first.

        Warns with `IncompleteIndexWarning` where vectors of the collection are in no file, or were
        searched for in vain.
        """
        if type(n) is not int or n < 1:
            raise PalaceInputError(f"n is how many drawers to find, from 1 on, not {n!r}")
        array = check_vectors(vectors, len(vectors))
        with self.session.reading(check_name(collection)) as client:
            found = self._admitted(client, collection)
            if found is None:
                return [[] for _ in vectors]
            check_fit(array, dimension_of(found))
            answers: list[list[Found]] = []
            for part in queries_in_parts(array, each=n):
                rows = answered(found, part, n, "distances", "documents", fixes=self.session.fixes)
                answers += [[Found(*each) for each in row] for row in rows]
        self.incomplete.warn(collection, stacklevel=2)
        return answers

    def _admitted(self, client: Client, name: str) -> Any | None:
        """Return a collection to be searched, asked for once a client; None without a vector."""
        if self._known[0] is not client:
            self._known = client, {}
        known = self._known[1]
        found = known.get(name) or existing(client, name)
        if found is None or dimension_of(found) is None:
            return None
        self._admit(found, name)
        if name not in known:
            self._admit_rows(found, name)
            known[name] = found  # its id and its dimension never change
        return found

    def count(self, *, collection: str = "drawers") -> int:
        """Return how many drawers the collection has."""
        with self.session.reading(check_name(collection)) as client:
            found = existing(client, collection)
            return 0 if found is None else int(found.count())

    def unfindable(self, *, collection: str = "drawers") -> list[str]:
        """Return the ids of drawers whose vector is lost, sorted; empty where no log is kept.

        `get` reads them, no search does. Closes the client and reads the log: for maintenance.
        """
        with self.session.apart() as state:
            return without_vector(self.palace, (check_name(collection),)) if state.retained else []

    def collections(self) -> list[str]:
        """Return the names of the palace's collections, sorted."""
        with self.session.reading(None) as client:
            return sorted(names_of(client))

    def _write(
        self,
        how: str,
        ids: Sequence[str],
        vectors: Sequence[Sequence[float]],
        documents: Sequence[str | None] | None,
        metadatas: Sequence[dict[str, Any] | None] | None,
        collection: str,
    ) -> None:
        wanted = check_ids(ids)
        array = check_vectors(vectors, len(wanted))
        texts = check_documents(documents, len(wanted))
        entries = check_metadatas(metadatas, len(wanted))

        def check(client: Client) -> None:
            check_size(len(wanted), client.get_max_batch_size())
            found = existing(client, collection)
            self._admit(found, collection)
            if found is None:
                check_fit(array, None, directed=self.settings["hnsw:space"] == "cosine")
            else:
                check_fit(array, dimension_of(found), directed=may_measure_by(found, "cosine"))

        replaces = wanted if how == "upsert" else ()
        with self.session.changing(check_name(collection), check, replaces=replaces) as client:
            found = existing(client, collection)
            if found is None:
                found = client.create_collection(
                    collection, metadata=dict(self.settings), embedding_function=None
                )
            getattr(found, how)(ids=wanted, embeddings=array, documents=texts, metadatas=entries)
