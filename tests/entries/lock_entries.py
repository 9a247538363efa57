"""Workers for the POSIX locks of `chroma.sqlite3`: one that is intruded on, one that is watched."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from palace_lab.processes.wire import Channel
from palace_store import retention
from palace_store.client import close_client, holds_open, open_client

sys.path.append(str(Path(__file__).parent))
import store_entries
from store_entries import _callers, name, obey, vector

#: What a process may do with the database file; each gives back all that it took.
INTRUSIONS: dict[str, Callable[[Path], Any]] = {
    "open": lambda path: path.open("rb").close(),
    "sqlite3": lambda path: sqlite3.connect(path).close(),
    "nothing": lambda path: path.stat(),
}


class Writer:
    """A raw chromadb client, and intrusions in another thread of its process."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.file = Path(config["palace"]) / "chroma.sqlite3"
        self.connects = 0
        self.client: Any = None
        self.collection: Any = None
        sys.addaudithook(self._hook)

    def _hook(self, event: str, _: tuple[Any, ...]) -> None:
        self.connects += event == "sqlite3.connect"

    def open(self) -> int:
        """Open a client; returns how often that called Python's sqlite3."""
        self.client = open_client(self.file.parent)
        # chromadb's own thresholds, which nothing here reaches: no index file takes part.
        self.collection = self.client.get_or_create_collection("drawers", embedding_function=None)
        return self.connects

    def add(self, numbers: list[int]) -> None:
        """Add drawers in one call."""
        self.collection.add(
            ids=[name(number) for number in numbers],
            embeddings=[vector(number) for number in numbers],
            documents=[f"{number} at 0" for number in numbers],
        )

    def intrude_aside(self, how: str) -> None:
        """Begin to open and close the database file in a thread of its own."""
        threading.Thread(target=INTRUSIONS[how], args=(self.file,), daemon=True).start()

    def add_aside(self, numbers: list[int]) -> None:
        """Begin to add in a thread of its own."""
        threading.Thread(target=self.add, args=(numbers,), daemon=True).start()

    def intrude(self, how: str) -> None:
        """Open and close the database file."""
        INTRUSIONS[how](self.file)

    def lost(self, numbers: list[int]) -> dict[str, list[int]]:
        """Return which of these are not listed, and which their own vector does not find."""
        listed = self.collection.get(include=[])["ids"]
        found = self.collection.query(
            query_embeddings=[vector(number) for number in numbers], n_results=3, include=[]
        )["ids"]
        answers = zip(numbers, found, strict=True)
        return {
            "unlisted": [number for number in numbers if name(number) not in listed],
            "not found": [number for number, ids in answers if name(number) not in ids],
        }

    def close(self) -> None:
        """Close the client."""
        close_client(self.client)


class Watched(store_entries.Worker):
    """A worker of `store_entries` that leaves a mark where not chromadb opens the database.

    The mark is a file opened in the same thread just before, so that a tracer sees it in order.
    """

    def __init__(self, channel: Channel, config: dict[str, Any]) -> None:
        super().__init__(channel, config)
        self.file = self.palace / "chroma.sqlite3"
        self.mark = config["mark"]
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if event not in ("open", "sqlite3.connect") or not args:
            return
        path = unquote(str(args[0]).removeprefix("file:").partition("?")[0])
        if os.path.realpath(path) != str(self.file):
            return
        # 0.x is written in Python, so its own connections come by here as well.
        if not any("/chromadb/" in frame for frame in _callers()):
            os.close(os.open(self.mark, os.O_WRONLY | os.O_CREAT))

    def everything(self) -> None:
        """Do what the store can do, on a palace that raw chromadb has written and purged."""
        self.put(list(range(12)))
        self.put([20, 21], how="add", at="second")
        self.delete([0, 1])
        self.look()
        self.look(at="second")
        self.collections()
        self.second_store(list(range(100, 106)))
        self.threads(count=2, each=3)
        for damage in (self.note_change, self.note_everything, self.garble):
            damage()
            assert self.look()["lost"] == []
        with self.store.hold(30):
            self.put([30])

    def garble(self) -> None:
        """Leave a state file that says nothing."""
        (self.palace / ".palace" / "state.json").write_text("garbage")

    def unguarded(self) -> None:
        """Take the guard away that keeps Python's sqlite3 from a client of this process."""
        retention.holds_open = lambda _: False  # type: ignore[assignment]  # that is the harm

    def hurried(self) -> None:
        """Wait less for clients of this process to let go."""
        retention._RELEASE_S = 0.2

    def closed(self) -> bool:
        """Close the store; chromadb 1.x lets go of its files in a thread, some time later."""
        self.close()
        until = time.monotonic() + 10
        while holds_open(self.file) and time.monotonic() < until:
            time.sleep(0.002)
        return not holds_open(self.file)


def serve(channel: Channel, config: dict[str, Any]) -> None:
    """Do what each message says, until there is none."""
    worker = Watched(channel, config) if "mark" in config else Writer(config)
    obey(channel, worker)
