"""The palace a server works on: drawers, knowledge graph, memories, and the model of its vectors.

Drawers and graph are opened when the server starts, so that a palace that cannot be used is refused
there, and can be closed and used again: the next call opens them anew.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

from palace_store.client import existing
from palace_store.drawers import Drawer, DrawerStore
from palace_store.embedding import Embedder
from palace_store.embedding_config import Configuration
from palace_store.embedding_gate import refuse_mixed, refuse_other
from palace_store.errors import PalaceInputError
from palace_store.fixes import Fixes
from palace_store.server.memories import Memories
from palace_store.text_input import EMBEDDING
from palace_store.triples import TripleStore
from palace_store.validation import check_ids

#: Longest text of one call, in bytes of UTF-8. Our choice: a drawer is a note, not a file.
TEXT_BYTES_MAX = 1024 * 1024


@final
class Memory:
    """One palace, for every thread of the server.

    `config` is a file that names the model; while it names another, no text is kept.
    Raises what the stores raise: `UnusablePalaceError`, `StaleLibraryError`, `KnowledgeError`.
    """

    def __init__(
        self,
        palace: Path | str,
        embedder: Embedder,
        *,
        fixes: Fixes,
        memories: Memories,
        config: Path | None = None,
        sync_threshold: int = 1000,
        batch_size: int = 100,
        lease_timeout_s: float = 60.0,
    ) -> None:
        self.embedder = embedder
        self._guarded = fixes.variant("embedding_identity") == "on"
        self.claims = fixes.has("embedding_claim")
        self.fixes = fixes
        self._config: Configuration | None = None
        if config is not None and fixes.has("embedding_config"):
            self._config = Configuration(config, embedder.identity)
        self.drawers = DrawerStore(
            palace,
            fixes=fixes,
            sync_threshold=sync_threshold,
            batch_size=batch_size,
            lease_timeout_s=lease_timeout_s,
            admit=self._admit,
            admit_rows=self._admit_rows,
        )
        self.drawers.settings.update(self.labelled({}))
        self.memories = memories
        self._triples: TripleStore | None = None
        self._opening = threading.Lock()

    @property
    def palace(self) -> Path:
        """Return the folder of the palace."""
        return self.drawers.palace

    @property
    def triples(self) -> TripleStore:
        """Return the knowledge graph, opened if it is not."""
        with self._opening:
            if self._triples is None:
                self._triples = TripleStore(self.palace, fixes=self.fixes)
            return self._triples

    def triple_count(self) -> int:
        """Return how many facts the knowledge graph has, ended ones too."""
        return self.triples.count()

    def open(self) -> None:
        """Open now what every server needs."""
        self.drawers.open()
        _ = self.triples
        self.memories.open()

    def close(self) -> None:
        """Close everything; what is used again is opened again."""
        self.memories.close()
        self.drawers.close()
        with self._opening:
            if self._triples is not None:
                self._triples.close()
                self._triples = None

    def labelled(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return metadata with which model made the vector it belongs to (S3)."""
        return {**row, EMBEDDING: self.embedder.identity.word()} if self._guarded else row

    def keep(
        self,
        ids: Sequence[str],
        texts: Sequence[str],
        rows: Sequence[dict[str, Any]],
        collection: str = "drawers",
    ) -> None:
        """Keep texts under these ids; an id that is there already keeps what it has.

        Raises `OtherModelError` where the configuration names another model by now.
        """
        self._refuse_changed()
        self._add(ids, texts, rows, self.vectors(texts), collection)

    def keep_new(
        self, ids: Sequence[str], texts: Sequence[str], rows: Sequence[dict[str, Any]]
    ) -> int:
        """Keep texts as drawers; return how many this call made: none of them is another's.

        Raises as `keep`.
        """
        self._refuse_changed()
        vectors = self.vectors(texts)  # before others have to wait
        with self.drawers.hold():
            held = {each.id for each in self.drawers.get(ids)}
            if len(held) < len(set(ids)):
                self._add(ids, texts, rows, vectors, "drawers")
        return len(set(ids) - held)

    def _add(
        self,
        ids: Sequence[str],
        texts: Sequence[str],
        rows: Sequence[dict[str, Any]],
        vectors: list[list[float]],
        collection: str,
    ) -> None:
        self.drawers.add(
            ids,
            vectors,
            documents=texts,
            metadatas=[self.labelled(row) or None for row in rows],
            collection=collection,
        )

    def claim(self, ids: Sequence[str], text: str, row: dict[str, Any]) -> tuple[Drawer, bool]:
        """Keep a text under the first of these ids, unless a drawer with one of them is there.

        Returns the drawer, and whether this call made it: of those who race only one is told so.
        Raises as `keep`.
        """
        self._refuse_changed()
        if kept := self._held(ids):
            return kept, False
        vectors = self.vectors([text])  # before others have to wait
        labels = self.labelled(row) or None
        with self.drawers.hold():
            if kept := self._held(ids):
                return kept, False
            self.drawers.add(ids[:1], vectors, documents=[text], metadatas=[labels])
        return Drawer(ids[0], text, labels), True

    def _held(self, ids: Sequence[str]) -> Drawer | None:
        """Return the drawer with the first of these ids that is there."""
        wanted = check_ids(ids)
        with self.drawers.session.reading("drawers") as client:
            found = existing(client, "drawers")
            self._admit(found, "drawers")
            if found is None:
                return None
            answer = found.get(ids=wanted, include=["documents", "metadatas"])
        columns = (answer[name] for name in ("ids", "documents", "metadatas"))
        held = {row[0]: Drawer(*row) for row in zip(*columns, strict=True)}
        return next((held[name] for name in wanted if name in held), None)

    def _refuse_changed(self) -> None:
        if self._config is not None:
            self._config.refuse_changed()

    def _admit(self, collection: Any, name: str) -> None:
        if self._guarded:
            refuse_other(collection, self.embedder.identity, name, self.palace)

    def _admit_rows(self, collection: Any, name: str) -> None:
        if self._guarded:
            refuse_mixed(collection, self.embedder.identity, name, self.palace)

    def vectors(self, texts: Sequence[str]) -> list[list[float]]:
        """Return the vector of each text."""
        return [list(map(float, row)) for row in self.embedder.embed(texts)]


def plain(name: str, value: str, *, least: int = 1) -> str:
    """Return a text that can be stored as it is; `name` is for the error, `least` its length."""
    size = len(value.encode("utf-8", "surrogatepass"))
    if size > TEXT_BYTES_MAX:
        raise PalaceInputError(
            f"{name} has {size} bytes, at most {TEXT_BYTES_MAX} are taken in one call; nothing was "
            "changed: divide it"
        )
    if len(value.strip()) < least:
        raise PalaceInputError(f"{name} is empty; nothing was changed: pass some text")
    if "\0" in value:
        raise PalaceInputError(
            f"{name} has a NUL at position {value.index(chr(0))}; nothing was changed: remove it"
        )
    return value
