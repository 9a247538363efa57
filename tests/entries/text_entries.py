"""A worker that keeps texts as it is told, in an environment with a real chromadb."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
from numpy.typing import NDArray
from store_entries import obey

from palace_lab.processes.wire import Channel
from palace_store.anatomy import survey
from palace_store.client import close_client
from palace_store.collection_exchange import settings_of
from palace_store.embedding import HashEmbedder, Identity
from palace_store.embedding_reset import reset_embedding
from palace_store.fixes import Fixes
from palace_store.retention import database
from palace_store.text_input import Content
from palace_store.texts import TextStore


class Counting:
    """A stand-in that counts the texts it embeds, and may claim another dimension than it has."""

    def __init__(self, model: str, dimension: int, *, claims: int | None = None) -> None:
        self._inner = HashEmbedder(model, dimension)
        found = self._inner.identity
        self.identity = Identity(
            found.provider, found.model, claims or dimension, normalised=True, revision="1"
        )
        self.embedded = 0

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.embedded += len(texts)
        return self._inner.embed(texts)


class Worker:
    """The operations; each takes and returns plain data."""

    def __init__(self, channel: Channel, config: dict[str, Any]) -> None:
        self.channel = channel
        self.palace = Path(config["palace"])
        words = config.get("fixes")
        self.fixes = Fixes.all() if words is None else Fixes.parse(words)
        options = {"sync_threshold": 5, "batch_size": 3, **config.get("options", {})}
        self.embedder = Counting(
            options.pop("model", "stand-in-a"),
            options.pop("dimension", 64),
            claims=options.pop("claims", None),
        )
        self.store = TextStore(self.palace, self.embedder, fixes=self.fixes, **options)

    def open(self) -> None:
        self.store.open()

    def close(self) -> None:
        self.store.close()

    def add(self, texts: list[str], **where: Any) -> list[bool]:
        stored = self.store.add([Content(text, **where) for text in texts])
        return [each.new for each in stored]

    def plain(self, texts: Any) -> list[str]:
        return [each.id for each in self.store.add(texts)]

    def search(self, text: str, n: int = 3, **options: Any) -> list[list[Any]]:
        return [[hit.text, hit.distance] for hit in self.store.search(text, n=n, **options)]

    def get(self) -> list[list[Any]]:
        return [
            [row.text, row.namespace, row.source_file, row.start_line, dict(row.metadata)]
            for row in self.store.get()
        ]

    def delete(self, texts: list[str]) -> None:
        self.store.delete([Content(text).id for text in texts])

    def count(self) -> int:
        return self.store.count()

    def models(self) -> dict[str, int]:
        return {
            Identity.parse(word).model if word else "": times
            for word, times in self.store.models().items()
        }

    def recorded(self) -> str:
        found = self.store.recorded()
        return "" if found is None else found.model

    def embedded(self) -> int:
        return self.embedder.embedded

    def collections(self) -> list[str]:
        return self.store.drawers.collections()

    def low_level(self, names: list[str], *, documents: bool = True) -> None:
        """Write with vectors of our own, as an application did before there were texts."""
        vectors = HashEmbedder("stand-in-a", 64).embed(names)
        self.store.drawers.add(
            names, vectors.tolist(), documents=names if documents else None, collection="texts"
        )

    def contents(self, contents: list[dict[str, Any]]) -> list[bool]:
        """Store contents in one call."""
        return [each.new for each in self.store.add([Content(**each) for each in contents])]

    def configured(self, space: str, *, replaced: bool = False) -> None:
        """Make the collection as a program with raw chromadb does, and store two texts.

        `replaced`: its metadata is something else afterwards.
        """
        settings: dict[str, Any] = {"metadata": {"hnsw:space": space, "hnsw:construction_ef": 200}}
        if not chromadb.__version__.startswith("0."):
            hnsw = {"space": space, "ef_construction": 200}
            settings = {"configuration": {"hnsw": hnsw}}
        client = chromadb.PersistentClient(str(self.palace))
        found = client.create_collection("texts", **settings, embedding_function=None)
        texts = ["one", "two"]
        vectors = self.embedder.embed(texts).tolist()
        found.add(ids=texts, embeddings=vectors, documents=texts)
        if replaced:
            found.modify(metadata={"made by": "somebody"})
        close_client(client)

    def drop(self) -> None:
        """Delete the collection with all its texts, as a program with raw chromadb does."""
        client = chromadb.PersistentClient(str(self.palace))
        client.delete_collection("texts")
        close_client(client)

    def longer(self, text: str) -> float:
        """Return the distance of a text from its own vector, three times as long."""
        (vector,) = self.embedder.embed([text])
        ((hit,),) = self.store.drawers.search([(3 * vector).tolist()], n=1, collection="texts")
        return float(hit.distance)

    def settings(self) -> dict[str, Any]:
        """Return what the collection says of its index."""
        with self.store.session.reading(None) as client:
            return settings_of(client.get_collection("texts", embedding_function=None))

    def reset(self, batch: int = 4, *, pauses: bool = False, term_s: float = 600.0) -> list[Any]:
        def paused() -> None:
            self.channel.send({"ok": "between batches"})
            self.channel.receive(300)

        done = reset_embedding(
            self.store, batch=batch, term_s=term_s, on_batch=paused if pauses else None
        )
        return [done.before, done.embedded]

    def stock(self, count: int) -> None:
        """Store texts 0 to count - 1, a thousand a call."""
        for first in range(0, count, 1000):
            numbers = range(first, min(first + 1000, count))
            self.store.add([f"memory {number} of the garden" for number in numbers])

    def compared(self, searches: int) -> list[Any]:
        """Return the median seconds of a search by stored vectors, and embedding on read.

        With them whether both always named the same text first.
        """
        count = self.store.count()
        stored_s, on_read_s, agree = [], [], True
        for turn in range(searches):
            text = f"memory {turn * count // searches} of the garden"
            began = time.perf_counter()
            first = self.store.search(text, n=10)[0].text
            stored_s.append(time.perf_counter() - began)
            began = time.perf_counter()
            rows = [row.text for row in self.store.get()]
            (query,) = self.embedder.embed([text])
            order = np.argsort(self.embedder.embed(rows) @ query)[::-1][:10]
            on_read_s.append(time.perf_counter() - began)
            agree = agree and first == rows[order[0]] == text
        return [statistics.median(stored_s), statistics.median(on_read_s), agree]

    def log(self) -> dict[str, int]:
        """Return how many records of the log are about which collection."""
        self.store.close()
        with database(self.palace) as connection:
            names = dict(connection.execute("SELECT id, name FROM collections").fetchall())
            rows = connection.execute("SELECT topic FROM embeddings_queue").fetchall()
        counted: dict[str, int] = {}
        for (topic,) in rows:
            name = names.get(topic.rpartition("/")[2], "none")
            counted[name] = counted.get(name, 0) + 1
        return counted

    def vectors(self) -> dict[str, int]:
        """Return how many vectors are whose, as the files have it, without chromadb."""
        texts = {row.id: row.text for row in self.store.get()}
        self.store.close()
        with database(self.palace):
            pass  # waits until the client has let go
        found = survey(self.palace)
        if damage := [each for each in found.findings if each.severity == "damage"]:
            return {f"{each.kind}: {each.sentence}": -1 for each in damage}
        served = found.collection("texts").served_vectors()
        counted: dict[str, int] = {}
        for name, vector in zip(served.ids, served.matrix, strict=True):
            model = self._model_of(texts[name], vector)
            counted[model] = counted.get(model, 0) + 1
        if len(served.ids) != len(texts):
            counted["none"] = len(texts) - len(served.ids)
        return counted

    def _model_of(self, text: str, vector: NDArray[np.float32]) -> str:
        for model in ("stand-in-a", "stand-in-b"):
            (own,) = HashEmbedder(model, len(vector)).embed([text])
            if float(own @ vector) > 0.999:
                return model
        return "unknown"


def serve(channel: Channel, config: dict[str, Any]) -> None:
    """Do what each message says, until there is none."""
    obey(channel, Worker(channel, config))
