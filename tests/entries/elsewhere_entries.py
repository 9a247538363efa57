"""A worker of the store that can also write into a database of another tenant, in one palace."""

from __future__ import annotations

from typing import Any

import chromadb
import store_entries
from chromadb.config import Settings
from store_entries import name, obey, vector

from palace_lab.processes.wire import Channel
from palace_store import collection_exchange, retention

TENANT, DATABASE, COLLECTION = "acme", "books", "drawers"


class Worker(store_entries.Worker):
    """The store's operations, and those of somebody with chromadb alone elsewhere in the palace."""

    def _client(self, **where: str) -> Any:
        settings = Settings(anonymized_telemetry=False)
        return chromadb.PersistentClient(str(self.palace), settings=settings, **where)

    def raw_elsewhere(self, numbers: list[int], revision: int) -> None:
        """Make the other database with a collection of the usual name, and write into that."""
        admin = self._client()._admin_client
        admin.create_tenant(TENANT)
        admin.create_database(DATABASE, tenant=TENANT)
        metadata = {"hnsw:space": "cosine", "hnsw:sync_threshold": 5, "hnsw:batch_size": 3}
        collection = self._client(tenant=TENANT, database=DATABASE).create_collection(
            COLLECTION, metadata=metadata, embedding_function=None
        )
        for number in numbers:
            collection.add(
                ids=[name(number)],
                embeddings=[vector(number, revision)],
                documents=[f"{number} at {revision}"],
            )

    def raw_elsewhere_found(self) -> dict[str, list[str]]:
        """Return the documents there, and which drawers are found by their own vector."""
        collection = self._client(tenant=TENANT, database=DATABASE).get_collection(
            COLLECTION, embedding_function=None
        )
        answer = collection.get()
        documents = dict(zip(answer["ids"], answer["documents"], strict=True))
        found = []
        for ident, text in documents.items():
            number, _, revision = text.partition(" at ")
            asked = [vector(int(number), int(revision))]
            if collection.query(query_embeddings=asked, n_results=1)["ids"][0] == [ident]:
                found.append(ident)
        return {"documents": sorted(documents.values()), "found": sorted(found)}

    def exchange(self, at: str, new: str, old: str) -> None:
        """Let one collection take the place of another, as a reset of texts does."""
        with retention.database(self.palace) as connection:
            collection_exchange.exchange(connection, at, new=new, old=old)


def serve(channel: Channel, config: dict[str, Any]) -> None:
    """Do what each message says, until there is none."""
    obey(channel, Worker(channel, config))
