"""A worker that follows issue 823's advice: export everything, recreate, import again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from store_entries import obey

from palace_lab.processes.wire import Channel
from palace_store.client import close_client, open_client
from palace_store.drawers import DrawerStore

DIMENSION = 384
BATCH = 100
NAME = "drawers"
#: The threshold that the issue advises for the palace made anew, in drawers.
ADVISED_THRESHOLD = 100


def vectors(count: int) -> np.ndarray[Any, Any]:
    """Return `count` float32 vectors of length 1, the same ones each time."""
    found = np.random.default_rng(823).standard_normal((count, DIMENSION), dtype=np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def ids(start: int, stop: int) -> list[str]:
    return [f"drawer-{number:05d}" for number in range(start, stop)]


class Worker:
    """The operations; each takes and returns plain data."""

    def __init__(self, channel: Channel, config: dict[str, Any]) -> None:
        self.channel = channel
        self.palace = Path(config["palace"])
        self.count = int(config["options"]["count"])
        self.threshold = int(config["options"]["sync_threshold"])
        self.store = DrawerStore(self.palace, sync_threshold=self.threshold)
        self.client: Any = None

    def fill(self, start: int, stop: int, *, ours: bool) -> None:
        """Write drawers and stay open; says after each batch how far it has come."""
        names = ids(0, self.count)
        made = vectors(self.count)
        add = self._ours if ours else self._raw()
        for first in range(start, stop, BATCH):
            part = slice(first, first + BATCH)
            add(
                ids=names[part],
                vectors=made[part].tolist(),
                documents=[f"text of {name}" for name in names[part]],
            )
            self.channel.send({"acknowledged": first + BATCH})

    def close(self) -> None:
        self.store.close()
        if self.client is not None:
            close_client(self.client)

    def _ours(self, **columns: Any) -> None:
        self.store.add(**columns)

    def _raw(self) -> Callable[..., None]:
        if self.client is None:
            self.client = open_client(self.palace)
        collection = self.client.get_or_create_collection(
            NAME,
            metadata={"hnsw:space": "cosine", "hnsw:sync_threshold": self.threshold},
            embedding_function=None,
        )

        def add(vectors: list[list[float]], **columns: Any) -> None:
            collection.add(embeddings=vectors, **columns)

        return add

    def export(self, target: str, *, embeddings: bool) -> dict[str, Any]:
        """Export in pages, as the issue says; with vectors or without, all or an error."""
        began = time.monotonic()
        client = open_client(self.palace)
        collection = client.get_collection(NAME, embedding_function=None)
        include = ["documents", *(["embeddings"] if embeddings else [])]
        names: list[str] = []
        texts: list[str] = []
        found: list[Any] = []
        while True:
            page = collection.get(limit=BATCH, offset=len(names), include=include)
            if not page["ids"]:
                break
            names += page["ids"]
            texts += page["documents"]
            if embeddings:
                found += list(page["embeddings"])
        close_client(client)
        np.savez(target, ids=np.array(names), texts=np.array(texts), vectors=np.array(found))
        seconds = time.monotonic() - began
        written = dict(zip(ids(0, self.count), vectors(self.count), strict=True))
        wrong = [
            name
            for name, vector in zip(names, found, strict=False)
            if not np.allclose(vector, written[name], atol=1e-5)
        ]
        return {"rows": len(names), "vectors": len(found), "wrong": len(wrong), "seconds": seconds}

    def import_again(self, source: str) -> float:
        """Make the palace anew out of an export; returns how long that took, in seconds."""
        began = time.monotonic()
        client = open_client(self.palace)
        collection = client.create_collection(
            NAME,
            metadata={"hnsw:space": "cosine", "hnsw:sync_threshold": ADVISED_THRESHOLD},
            embedding_function=None,
        )
        with np.load(source) as export:
            names, texts = export["ids"].tolist(), export["texts"].tolist()
            made = export["vectors"]
        for start in range(0, len(names), BATCH):
            part = slice(start, start + BATCH)
            collection.add(ids=names[part], embeddings=made[part], documents=texts[part])
        close_client(client)
        return time.monotonic() - began

    def lost(self, *, ours: bool) -> dict[str, Any]:
        """Count rows, and drawers that their own vector does not find; the first look may mend."""
        began = time.monotonic()
        made = vectors(self.count)
        if ours:
            store = DrawerStore(self.palace)
            rows = store.count()
            seconds = time.monotonic() - began
            answers = [[f.id for f in answer] for answer in store.search(made.tolist(), n=3)]
            store.close()
        else:
            client = open_client(self.palace)
            collection = client.get_collection(NAME, embedding_function=None)
            rows = collection.count()
            seconds = time.monotonic() - began
            answers = collection.query(query_embeddings=made, n_results=3, include=[])["ids"]
            close_client(client)
        wanted = ids(0, self.count)
        missing = [name for name, answer in zip(wanted, answers, strict=True) if name not in answer]
        return {"rows": rows, "missing": missing, "seconds": seconds}


def serve(channel: Channel, config: dict[str, Any]) -> None:
    """Do what each message says, until there is none."""
    obey(channel, Worker(channel, config), wait_s=600)
