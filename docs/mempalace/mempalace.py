"""MemPalace's own collection of drawers, kept open as one of its processes keeps it.

The lab gives the vectors, where MemPalace would ask a model that comes from the network, so its
check of that model is passed over. What MemPalace does around the collection (its server, its
miner, a hub that several clients may share) has no part in it.
"""

from __future__ import annotations

from typing import Any

from mempalace.palace import get_collection

from palace_lab.targets.base import Context
from palace_lab.targets.drawers import DrawersTarget


class MemPalaceTarget(DrawersTarget):
    """One process with the collection of drawers open."""

    _drawers: Any = None

    def open(self) -> None:
        """Open the palace, as `get_collection` opens it for server, miner and search."""
        self._drawers = get_collection(str(self.context.palace), _skip_identity_check=True)

    def put(self, how: str, ids: list[str], vectors: list[list[float]], texts: list[str]) -> None:
        """Write drawers with their vectors, each in a wing and a room."""
        getattr(self._drawers, how)(
            ids=ids,
            embeddings=vectors,
            documents=texts,
            metadatas=[{"wing": "lab", "room": "lab"} for _ in ids],
        )

    def remove(self, ids: list[str]) -> None:
        """Delete drawers."""
        self._drawers.delete(ids=ids)

    def stored_ids(self) -> list[str]:
        """Return the id of every drawer."""
        return list(self._drawers.get(include=[])["ids"])

    def texts(self) -> dict[str, str | None]:
        """Return the text of every drawer."""
        found = self._drawers.get(include=["documents"])
        return dict(zip(found["ids"], found["documents"], strict=True))

    def nearest(self, vectors: list[list[float]], n: int) -> list[list[str]]:
        """Return the ids of the drawers nearest to each vector."""
        found = self._drawers.query(query_embeddings=vectors, n_results=n, include=[])
        return [list(ids) for ids in found["ids"]]

    def answers(self, vectors: list[list[float]], n: int) -> list[int]:
        """Return how many texts come back for each vector."""
        found = self._drawers.query(
            query_embeddings=vectors, n_results=n, include=["documents", "distances"]
        )
        return [len(texts) for texts in found["documents"]]

    def count(self) -> int:
        """Return how many drawers there are."""
        return int(self._drawers.count())


def target(context: Context) -> MemPalaceTarget:
    """Return the target for the worker loop."""
    return MemPalaceTarget(context)
