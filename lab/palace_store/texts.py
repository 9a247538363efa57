"""Drawers by their text: whoever stores a text says which model embeds it (S3).

For applications, an MCP server for one:

    with TextStore(palace, HashEmbedder()) as store:
        store.add(["a text", Content("another", source_file="notes.md", start_line=3)])
        for hit in store.search("a text", n=5):
            print(hit.distance, hit.text)

`add` returns a `Stored` for each content: its id, and whether this call stored it (`new`) or it
was there already. Searching, listing and deleting never need to know an id beforehand. Errors are
those of `DrawerStore`, and `OtherModelError` where the collection has vectors of another model.

Rules:
- A drawer never changes: its id is a hash of its key (`text_input`), so an `add` may be repeated.
- With the fixes of S3 off this is the report: a content that is there is passed over in silence,
  and nothing says which model made a vector.
- A model works before the palace is taken, never while others wait for it.
- `DrawerStore` beside it takes vectors from its caller and asks nobody which model made them: a
  row that it writes into a collection of texts is refused when a search finds it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from palace_store.client import Client, existing, present
from palace_store.drawers import DrawerStore
from palace_store.embedding import Embedder, Identity, check_embedder, vectors_of
from palace_store.embedding_config import Configuration
from palace_store.embedding_gate import recorded, refuse_mixed_rows, refuse_other
from palace_store.errors import PalaceInputError
from palace_store.fixes import Fixes
from palace_store.recovery import dimension_of
from palace_store.text_input import EMBEDDING, Content, check_contents, check_text
from palace_store.validation import check_fit, check_ids, check_name, check_size, check_vectors
from palace_store.wide_search import answered
from palace_store.writer_guard import WriterGuard


@dataclass(frozen=True)
class Stored:
    """What became of one content: the id of its drawer, and whether this call put it there."""

    id: str
    new: bool


@dataclass(frozen=True)
class Hit:
    """One answer of a search; smaller distances are nearer. `metadata` has the key's parts, too."""

    id: str
    text: str
    distance: float
    metadata: dict[str, Any]


class _AllThereError(Exception):
    """Every content is there already, so there is nothing to be noted or written."""


@final
class TextStore:
    """The texts of one palace, embedded by one model.

    `config` is a file that says which model is configured (`embedding_config`); a process that
    finds another one in it than its embedder's may no longer write. `options` are `DrawerStore`'s.
    """

    def __init__(
        self,
        palace: Path | str,
        embedder: Embedder,
        *,
        collection: str = "texts",
        config: Path | str | None = None,
        fixes: Fixes | None = None,
        **options: Any,
    ) -> None:
        self.drawers = DrawerStore(palace, fixes=fixes, **options)
        self.session = self.drawers.session
        self.fixes = self.session.fixes
        self.collection = check_name(collection)
        self.embedder = check_embedder(embedder)
        guarded = self.fixes.is_reported("embedding_identity")
        self._guard = WriterGuard(self.session.palace) if guarded else None
        self._config: Configuration | None = None
        if config is not None and self.fixes.has("embedding_config"):
            self._config = Configuration(config, embedder.identity)

    @property
    def identity(self) -> Identity:
        """Return which model this store embeds with."""
        return self.embedder.identity

    @property
    def guarded(self) -> bool:
        """Tell whether models are compared at all."""
        return self.fixes.variant("embedding_identity") == "on"

    def __enter__(self) -> TextStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Open now instead of at the first operation; mends what a dead writer left."""
        self.drawers.open()

    def close(self) -> None:
        """Close the client; the store opens again when it is used again."""
        self.drawers.close()
        if self._guard is not None:
            self._guard.give_back()

    def hold(self, term_s: float = 60.0) -> AbstractContextManager[None]:
        """Keep the palace over several operations, for up to `term_s` seconds."""
        return self.drawers.hold(term_s)

    def add(self, contents: Sequence[str | Content]) -> list[Stored]:
        """Store contents that are not there yet; says of each whether this call stored it.

        Raises `OtherModelError`, before any effect, where the collection is another model's.
        """
        given = check_contents(contents)
        wanted: dict[str, Content] = {}
        for each in given:
            wanted.setdefault(each.id, each)
        self.prepare_to_write()
        with self.session.reading(self.collection) as client:
            there = self._there(client, list(wanted))
        vectors = vectors_of(
            self.embedder, {name: wanted[name].text for name in wanted if name not in there}
        )

        def check(client: Client) -> None:
            found = existing(client, self.collection)
            there.update(self._there(client, list(vectors)))
            if not vectors.keys() - there:
                raise _AllThereError
            check_size(len(vectors), client.get_max_batch_size())
            check_fit(
                check_vectors(list(vectors.values()), len(vectors)),
                None if found is None else dimension_of(found),
                directed=self.drawers.settings["hnsw:space"] == "cosine",
            )

        try:
            with self.session.changing(self.collection, check) as client:
                fresh = dict.fromkeys(name for name in vectors if name not in there)
                found = existing(client, self.collection) or self._make(client)
                found.add(
                    ids=list(fresh),
                    embeddings=[vectors[name] for name in fresh],
                    documents=[wanted[name].text for name in fresh],
                    metadatas=[self.labelled(wanted[name].row()) for name in fresh],
                )
        except _AllThereError:
            fresh = {}
        firsts = {each.id: number for number, each in reversed(list(enumerate(given)))}
        return [
            Stored(each.id, each.id in fresh and firsts[each.id] == number)
            for number, each in enumerate(given)
        ]

    def search(self, text: str, *, n: int = 10, where: dict[str, Any] | None = None) -> list[Hit]:
        """Return the up to `n` texts that are nearest, nearest first.

        `where` is chromadb's filter on metadata, `{"namespace": "default"}` for one.
        """
        if type(n) is not int or n < 1:
            raise PalaceInputError(f"n is how many texts to find, from 1 on, not {n!r}")
        query = vectors_of(self.embedder, {"": check_text(text, "what is searched for")})[""]
        with self.session.reading(self.collection) as client:
            found = self._ours(client)
            if found is None or dimension_of(found) is None:
                return []
            check_fit(check_vectors([query], 1), dimension_of(found))
            columns = ("documents", "distances", "metadatas")
            (rows,) = answered(found, [query], n, *columns, fixes=self.session.fixes, where=where)
        hits = [Hit(*row) for row in rows]
        if self.guarded:
            told = ((hit.id, hit.metadata) for hit in hits)
            refuse_mixed_rows(told, self.identity, self.collection, self.session.palace)
        return hits

    def get(self, ids: Sequence[str] | None = None) -> list[Content]:
        """Return the contents under these ids, or all; needs no model, so none is refused."""
        drawers = self.drawers.get(ids, collection=self.collection)
        return [Content.of_row(each.document or "", each.metadata or {}) for each in drawers]

    def delete(self, ids: Sequence[str]) -> None:
        """Delete texts; ids that are not there are passed over. Needs no model either."""
        self.drawers.delete(check_ids(ids), collection=self.collection)

    def count(self) -> int:
        """Return how many texts there are."""
        return self.drawers.count(collection=self.collection)

    def recorded(self) -> Identity | None:
        """Return which model the collection says its vectors are of, None if it says nothing."""
        with self.session.reading(None) as client:
            found = existing(client, self.collection)
            return None if found is None else recorded(found)

    def models(self) -> dict[str, int]:
        """Return for each model its number of drawers, as the rows say it; "" for none."""
        drawers = self.drawers.get(collection=self.collection)
        return dict(Counter(str((each.metadata or {}).get(EMBEDDING, "")) for each in drawers))

    def prepare_to_write(self) -> None:
        """Refuse what may not write here: by the configuration, or by the report's lock file."""
        if self._config is not None:
            self._config.refuse_changed()
        if self._guard is not None:
            self._guard.take()

    def labelled(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the metadata of a row with what is known of the model of its vector."""
        return {**row, EMBEDDING: self.identity.word()} if self.guarded else row

    def _make(self, client: Client) -> Any:
        return client.create_collection(
            self.collection,
            metadata=self.labelled(self.drawers.settings),
            embedding_function=None,
        )

    def _ours(self, client: Client) -> Any | None:
        """Return the collection, None where there is none; refuses one of another model."""
        found = existing(client, self.collection)
        if self.guarded:
            refuse_other(found, self.identity, self.collection, self.session.palace)
        return found

    def _there(self, client: Client, ids: list[str]) -> set[str]:
        """Return which of these drawers are there; nobody asks where the report did not."""
        found = self._ours(client)
        if found is None or not self.fixes.has("embedding_claim"):
            return set()
        return present(found, ids)
