"""chromadb as it is: what people run without any memory library around it.

With the option `serves`, the name of a process, all use the `chroma run` of that process over HTTP,
unless `transport` is "files".
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import chromadb
from chromadb.config import Settings

from palace_lab.targets.base import Context
from palace_lab.targets.drawers import DrawersTarget
from palace_lab.targets.http_server import PORT, HttpServer, shared


class ChromaTarget(DrawersTarget):
    """One raw client on one palace, kept open as a long-lived process keeps it."""

    _collection: Any = None
    _server: HttpServer | None = None

    def open(self) -> None:
        """Open the palace and its collection, made with the plan's thresholds if it is new."""
        client = self._client()
        self._collection = client.get_or_create_collection(
            self.collection,
            metadata={
                "hnsw:space": self.space,
                "hnsw:sync_threshold": self.sync_threshold,
                "hnsw:batch_size": self.batch_size,
            },
            embedding_function=None,
        )

    def close(self) -> None:
        """End the server if this process has started one."""
        if self._server is not None:
            self._server.stop()

    def _client(self) -> Any:
        settings, serves = Settings(anonymized_telemetry=False), self.context.options.get("serves")
        palace = self.context.palace
        if serves is None or self.context.options.get("transport") == "files":
            return chromadb.PersistentClient(str(palace), settings=settings)
        program = Path(sys.prefix) / "bin" / "chroma"
        words = [str(program), "run", "--path", str(palace), "--port", PORT]
        url, self._server = shared(self.context, serves, words)
        at = urlsplit(url)
        return chromadb.HttpClient(str(at.hostname), int(at.port or 0), settings=settings)

    def put(self, how: str, ids: list[str], vectors: list[list[float]], texts: list[str]) -> None:
        """Write through the collection."""
        put = getattr(self._collection, how)
        put(ids=ids, embeddings=vectors, documents=texts, metadatas=self.labels(ids))

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
