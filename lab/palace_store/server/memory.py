"""The palace a server works on: drawers, knowledge graph, memories, and the model of its vectors.

Drawers and graph are opened when the server starts, so that a palace that cannot be used is refused
there, and can be closed and used again: the next call opens them anew.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

from palace_store.drawers import DrawerStore
from palace_store.embedding import Embedder
from palace_store.embedding_gate import refuse_mixed, refuse_other
from palace_store.errors import PalaceInputError
from palace_store.fixes import Fixes
from palace_store.server.memories import Memories
from palace_store.text_input import EMBEDDING
from palace_store.triples import TripleStore

#: Longest text of one call, in bytes of UTF-8. Our choice: a drawer is a note, not a file.
TEXT_BYTES_MAX = 1024 * 1024


@final
class Memory:
    """One palace, for every thread of the server.

    Raises what the stores raise: `UnusablePalaceError`, `StaleLibraryError`, `KnowledgeError`.
    """

    def __init__(
        self,
        palace: Path | str,
        embedder: Embedder,
        *,
        fixes: Fixes,
        memories: Memories,
        sync_threshold: int = 1000,
        batch_size: int = 100,
        lease_timeout_s: float = 60.0,
    ) -> None:
        self.embedder = embedder
        self._guarded = fixes.variant("embedding_identity") == "on"
        self.fixes = fixes
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
