"""Run by a release's python: collections configured in every way, and what chromadb makes of it.

`make PALACE` makes them, `modify` what can be changed afterwards; both print, as JSON, the distance
that each collection is measured to compute with: by name, one of l2, cosine and ip. `use` works
with the library instead, and prints which collections refuse a vector without a direction, and in
which the log may have cut drawers off.
"""

from __future__ import annotations

import json
import logging
import random
import sys
from pathlib import Path
from typing import Any

import chromadb

SMALL = {"hnsw:sync_threshold": 10, "hnsw:batch_size": 5}
LIKEWISE = {"sync_threshold": 10, "batch_size": 5}
#: Metadata and configuration of a collection that is called as what they say.
WAYS: dict[str, tuple[dict[str, Any] | None, dict[str, Any] | None]] = {
    "nothing": (None, None),
    "metadata-cosine": ({"hnsw:space": "cosine", **SMALL}, None),
    "metadata-ip": ({"hnsw:space": "ip", **SMALL}, None),
    "configured-cosine": (None, {"space": "cosine", **LIKEWISE}),
    "configured-ip": (None, {"space": "ip", **LIKEWISE}),
    "configured-l2": (None, {"space": "l2", **LIKEWISE}),
    "metadata-l2-configured-cosine": ({"hnsw:space": "l2", **SMALL}, {"space": "cosine"}),
    "metadata-cosine-configured-l2": ({"hnsw:space": "cosine", **SMALL}, {"space": "l2"}),
    "metadata-cosine-configured-otherwise": (
        {"hnsw:space": "cosine", **SMALL},
        {"ef_search": 50, **LIKEWISE},
    ),
}
#: Beside drawers of 12 random numbers: what is far from or near to (1, 0, …) by each distance.
MANY = 40


def padded(*numbers: float) -> list[float]:
    return [*numbers, *[0.0] * (12 - len(numbers))]


def measured(collection: Any) -> str:
    """Return the distance of (1, 0, …) and (5, 0, …) as chromadb computes it, by its name."""
    answer = collection.query(
        query_embeddings=[padded(1.0)], n_results=MANY + 2, include=["distances"]
    )
    far = dict(zip(answer["ids"][0], answer["distances"][0], strict=True))["five"]
    known = {"cosine": 0.0, "l2": 16.0, "ip": -4.0}
    return min(known, key=lambda name: abs(known[name] - far))


def make(client: Any) -> dict[str, str]:
    lot = random.Random(1)  # noqa: S311  (no secret)
    for name, (metadata, configuration) in WAYS.items():
        if configuration is None:
            made = client.create_collection(name, metadata=metadata)
        elif chromadb.__version__.startswith("0"):
            continue
        else:
            made = client.create_collection(
                name, metadata=metadata, configuration={"hnsw": configuration}
            )
        for first in range(0, MANY, 8):
            made.add(
                ids=[f"drawer-{number}" for number in range(first, first + 8)],
                embeddings=[[lot.gauss(0, 1) for _ in range(12)] for _ in range(8)],
            )
        made.add(ids=["one", "five"], embeddings=[padded(1.0), padded(5.0)])
    return {each: measured(client.get_collection(each)) for each in names(client)}


def modify(client: Any) -> dict[str, str]:
    for name in names(client):
        client.get_collection(name).modify(metadata={"room": "attic"})
    return {each: measured(client.get_collection(each)) for each in names(client)}


def use(palace: str) -> dict[str, list[str]]:
    from palace_store.drawers import DrawerStore  # noqa: PLC0415  (for this one alone)
    from palace_store.errors import PalaceInputError  # noqa: PLC0415
    from palace_store.replacements import replaced_in_log  # noqa: PLC0415

    refused = []
    with DrawerStore(palace) as store:
        for name in WAYS:
            for revision in (1.0, 2.0):
                store.upsert(["drawer-1"], [padded(revision, 3.0)], collection=name)
            try:
                store.add(["zero"], [padded()], collection=name)
            except PalaceInputError:
                refused.append(name)
    return {"refused": refused, "replaced": sorted(replaced_in_log(Path(palace)))}


def names(client: Any) -> list[str]:
    found = client.list_collections()
    there = {each if isinstance(each, str) else each.name for each in found}
    return [name for name in WAYS if name in there]


if __name__ == "__main__":
    logging.disable()
    what, palace = sys.argv[1:]
    if what == "use":
        print(json.dumps(use(palace)))
    else:
        client = chromadb.PersistentClient(palace)
        print(json.dumps(make(client) if what == "make" else modify(client)))
