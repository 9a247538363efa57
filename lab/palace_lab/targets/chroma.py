"""chromadb as it is: what people run without any memory library around it."""

from __future__ import annotations

from typing import Any

import chromadb
from chromadb.config import Settings

from palace_lab.targets.base import Context
from palace_lab.targets.drawers import DrawersTarget


class ChromaTarget(DrawersTarget):
    """One raw client on one palace, kept open as a long-lived process keeps it."""

    _collection: Any = None

    def open(self) -> None:
        """Open the palace and its collection, made with the plan's thresholds if it is new."""
        client = chromadb.PersistentClient(
            str(self.context.palace), settings=Settings(anonymized_telemetry=False)
        )
        self._collection = client.get_or_create_collection(
            self.collection,
            metadata={
                "hnsw:space": self.space,
                "hnsw:sync_threshold": self.sync_threshold,
                "hnsw:batch_size": self.batch_size,
            },
            embedding_function=None,
        )

    def put(self, how: str, ids: list[str], vectors: list[list[float]], texts: list[str]) -> None:
        """Write through the collection."""
        getattr(self._collection, how)(ids=ids, embeddings=vectors, documents=texts)

    def remove(self, ids: list[str]) -> None:
        """Delete through the collection."""
        self._collection.delete(ids=ids)

    def stored_ids(self) -> list[str]:
        """Return every id of the collection."""
        return list(self._collection.get(include=[])["ids"])

    def texts(self) -> dict[str, str | None]:
        """Return the document of every drawer."""
        answer = self._collection.get(include=["documents"])
        return dict(zip(answer["ids"], answer["documents"], strict=True))

    def nearest(self, vectors: list[list[float]], n: int) -> list[list[str]]:
        """Query the collection."""
        answer = self._collection.query(query_embeddings=vectors, n_results=n, include=[])
        return [list(ids) for ids in answer["ids"]]

    def answers(self, vectors: list[list[float]], n: int) -> list[int]:
        """Query the collection for documents and distances."""
        answer = self._collection.query(
            query_embeddings=vectors, n_results=n, include=["documents", "distances"]
        )
        return [len(ids) for ids in answer["ids"]]

    def count(self) -> int:
        """Count the collection."""
        return int(self._collection.count())


def target(context: Context) -> ChromaTarget:
    """Return the target for the worker loop."""
    return ChromaTarget(context)
