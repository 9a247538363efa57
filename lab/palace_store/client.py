"""Opening and really closing a chromadb client, the same way on every release from 0.5.23 on.

chromadb caches one System for each path and process, so a second client rereads nothing; only a
client that was closed and dropped from that cache lets the next one see what a peer wrote.
Measured on 0.6.3, 1.0.21 and 1.5.9: after `close_client` no descriptor of the palace is left.
For the same reason all stores of one process on one palace share one `Seat`, and so one client.
"""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
from chromadb.api.shared_system_client import SharedSystemClient
from chromadb.config import Settings
from numpy.typing import NDArray

from palace_store.anatomy import Vectors
from palace_store.errors import ForkedStoreError

#: What releases raise for a collection that is not there; a plain ValueError says so in words.
_MISSING = frozenset({"NotFoundError", "InvalidCollectionException"})
#: What chromadb's Python and Rust clients alike offer; it has no common typed base to name here.
Client = Any
#: Ids in one question to chromadb, which turns each into an SQL variable (1.x: 32,766 at most).
IDS_AT_A_TIME = 5000


@dataclass(frozen=True)
class Unlinked:
    """Drawers of a collection to which no link of its index leads, the first with their vectors."""

    vectors: Vectors
    others: tuple[str, ...] = ()


@dataclass
class Seat:
    """What one process has open of one palace; everything in it is guarded by `lock`."""

    process: int = field(default_factory=os.getpid)
    lock: threading.RLock = field(default_factory=threading.RLock)
    client: Client | None = None
    generation: int = -1  # of the palace when the client last agreed with it
    mark: tuple[int, int, int] | None = None  # of its database then (see `freshness`)
    looked_s: float = 0.0  # when that was last compared, on the monotonic clock
    missed: bool = False  # something has been missed since
    caught_up: set[str] = field(default_factory=set)  # collections whose index has read the log
    lossy: bool = False  # some searches cannot find everything
    unlinked: dict[str, Unlinked] = field(default_factory=dict)  # collection → to be linked again
    unfound: dict[str, set[str]] = field(default_factory=dict)  # collection → linked again in vain
    replaced: dict[str, set[str]] = field(default_factory=dict)  # collection → whom it may cut off
    waiting: dict[str, set[str]] = field(
        default_factory=dict
    )  # the same, by what is in no graph yet
    batches: dict[str, Any] = field(
        default_factory=dict
    )  # `beside_graph` when it was looked through
    doubtful: bool = False  # the log was found incomplete, and not to be completed from here

    def leave(self) -> None:
        """Close the client; the next operation opens another."""
        client, self.client = self.client, None
        for known in (self.caught_up, self.waiting, self.batches):
            known.clear()
        if client is not None:
            close_client(client)


_SEATS: dict[str, Seat] = {}
_SEATS_LOCK = threading.Lock()


def seat_of(palace: Path) -> Seat:
    """Return this process's seat at a palace, whose path has no links in it (`place_of`).

    A fork may have one only if no client was open: raises `ForkedStoreError` if this process was
    forked from one that had the palace open.
    """
    path = str(palace)
    with _SEATS_LOCK:
        seat = _SEATS.get(path) or _SEATS.setdefault(path, Seat())
        if seat.process != os.getpid():
            if seat.client is not None:
                raise ForkedStoreError(
                    f"process {os.getpid()} was forked from {seat.process}, which had {palace} "
                    "open; nothing was changed: close the store before forking, or start the "
                    "process anew (spawn)"
                )
            seat = _SEATS[path] = Seat()
        return seat


def running_version() -> str:
    """Return the version of the chromadb this process has imported (not of the one installed)."""
    return str(chromadb.__version__)


def open_client(palace: Path) -> Client:
    """Open the palace's drawers; creates the database where there is none."""
    path = str(palace)
    try:
        return chromadb.PersistentClient(path, settings=Settings(anonymized_telemetry=False))
    except BaseException:
        # chromadb caches a System before it has started; a second try would be given this ruin.
        _forget(path)
        raise


def existing(client: Client, name: str) -> Any | None:
    """Return a collection, or None where there is none of this name."""
    try:
        return client.get_collection(name, embedding_function=None)
    except Exception as error:
        if type(error).__name__ in _MISSING or (
            type(error) is ValueError and "does not exist" in str(error)  # 0.5
        ):
            return None
        raise


def beside_graph(client: Client, collection: Any) -> Any | None:
    """Return the batch of changes that 0.x keeps beside the graph of a collection; None on 1.x.

    It is another object once the graph has taken it up. chromadb has no public way to ask.
    """
    manager = getattr(client._server, "_manager", None)  # noqa: SLF001
    for segment in getattr(manager, "_instances", {}).values():
        if getattr(segment, "_collection", None) == collection.id:
            batch = getattr(segment, "_curr_batch", None)
            if batch is not None:
                return batch
    return None


def names_of(client: Client) -> list[str]:
    """Return the names of a palace's collections; 0.6 lists names, releases around it objects."""
    listed = client.list_collections()
    return [item if isinstance(item, str) else str(item.name) for item in listed]


def in_parts(ids: Sequence[str], size: int = IDS_AT_A_TIME) -> list[list[str]]:
    """Return ids in parts of up to `size`."""
    return [list(ids[start : start + size]) for start in range(0, len(ids), size)]


def queries_in_parts(matrix: NDArray[np.float32], each: int) -> list[NDArray[np.float32]]:
    """Return query vectors in parts, by how many ids an answer of `each` for every one has.

    No part is empty: one query is never divided, however many it asks for.
    """
    parts = min(len(matrix), -(-each * len(matrix) // IDS_AT_A_TIME))  # rounded up
    return np.array_split(matrix, parts) if parts else []


def present(collection: Any, ids: Sequence[str]) -> set[str]:
    """Return those of the ids that a collection has."""
    found: set[str] = set()
    for part in in_parts(ids):
        found.update(collection.get(ids=part, include=[])["ids"])
    return found


def close_client(client: Client) -> None:
    """Stop the client's System and forget it, so that the next client reads everything anew."""
    system = client._system  # noqa: SLF001  (chromadb before 1.5.2 has no public way to close)
    cache = SharedSystemClient._identifier_to_system  # noqa: SLF001  (same reason)
    try:
        system.stop()
    finally:
        for identifier in [name for name, cached in cache.items() if cached is system]:
            _forget(identifier)
    del system
    gc.collect()


def _forget(identifier: str) -> None:
    SharedSystemClient._identifier_to_system.pop(identifier, None)  # noqa: SLF001  (see above)
    with contextlib.suppress(AttributeError):  # counted from 1.5.2 on
        SharedSystemClient._identifier_to_refcount.pop(identifier, None)  # noqa: SLF001  (as above)


def holds_open(path: Path) -> bool:
    """Tell whether this process has a descriptor open on the file."""
    try:
        wanted = path.stat()
    except FileNotFoundError:
        return False
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found = entry.stat()
        except OSError:
            continue  # closed between listing and looking
        if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
            return True
    return False
