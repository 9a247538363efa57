"""A remote and machines in the test's own process: real HTTP over a real wire, real files."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from palace_lab.history.segment import Recorder
from palace_lab.targets.base import Context
from palace_lab.targets.memory_files import (
    ADDRESS,
    REMOTE,
    machine_file,
    read_back,
    read_remote,
    remote_file,
)
from palace_lab.targets.remote import RemoteTarget
from palace_store.fixes import Fixes
from palace_store.local import LocalStore
from palace_store.sync import SyncEngine

NUMBERS = itertools.count()
ALL = Fixes.all()
#: Of 30 s for an answer, and 8 s for a recall.
SCALE = 0.05


class Machine:
    """A store and an engine, opened again by `reopen` as after the death of their process."""

    def __init__(self, palace: Path, name: str, url: str, fixes: Fixes, scale: float) -> None:
        self.place = machine_file(palace, name).parent
        self.key = "right"
        self.url = url
        self._fixes = fixes
        self._scale = scale
        self.store, self.engine = self._open()

    def _open(self) -> tuple[LocalStore, SyncEngine]:
        store = LocalStore(self.place, fixes=self._fixes, time_scale=self._scale, seed=1)
        engine = SyncEngine(store, self.url, key=lambda: self.key, time_scale=self._scale, seed=1)
        return store, engine

    def words(self) -> list[str]:
        return sorted(memory.content for memory in self.store.all())

    def close(self) -> None:
        self.engine.stop()
        self.store.close()

    def reopen(self) -> None:
        self.close()
        self.store, self.engine = self._open()


def settle(*machines: Machine, full: bool | None = None) -> None:
    """Let each machine sync twice, so that what one told the others hear; without any trouble."""
    for machine in (*machines, *machines):
        assert machine.engine.sync(full=full).problems == ()


class World:
    """A remote with its wire, and the machines around it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.palace = directory / "palace"
        self._directory = directory
        self._remotes: list[tuple[RemoteTarget, Path]] = []
        self._machines: list[Machine] = []
        self._add(self.palace)

    @property
    def remote(self) -> RemoteTarget:
        return self._remotes[-1][0]

    @property
    def url(self) -> str:
        return (self._remotes[-1][1] / REMOTE / ADDRESS).read_text(encoding="ascii")

    def machine(self, name: str, fixes: Fixes = ALL, scale: float = SCALE) -> Machine:
        made = Machine(self.palace, name, self.url, fixes, scale)
        self._machines.append(made)
        return made

    def begin(self) -> str:
        """Begin another remote, an empty one, and return its address."""
        self._add(self._directory / f"exchanged-{len(self._remotes)}")
        return self.url

    def exchange(self) -> None:
        """Begin another remote, and open every machine again with its address."""
        self.begin()
        for machine in self._machines:
            machine.url = self.url
            machine.reopen()

    def back_up(self) -> Path:
        """Copy what the remote holds, for `restore`."""
        place = self._directory / f"backup-{next(NUMBERS)}"
        with closing(sqlite3.connect(place)) as copy:
            self.remote._own()._db.backup(copy)
        return place

    def restore(self, backup: Path, *, told: bool = False) -> None:
        """Let the remote hold what it held then, under the same address; it may say so."""
        with closing(sqlite3.connect(backup)) as copy:
            copy.backup(self.remote._own()._db)
        if told:
            self.remote._own().begin_history()

    def read(self) -> dict[str, Any]:
        remote = read_remote(remote_file(self._remotes[-1][1]))
        return {**read_back(self.palace), "remote": remote}

    def there(self) -> list[int]:
        """Return the numbers of the memories at the remote, each as often as it is there."""
        return list(self.read()["remote"]["memories"])

    def close(self) -> None:
        for remote, _ in self._remotes:
            remote.heal()
        for machine in self._machines:
            machine.close()
        for remote, _ in self._remotes:
            remote.close()

    def _add(self, palace: Path) -> None:
        recorder = Recorder(self._directory / f"remote-{next(NUMBERS)}.hist", "remote")
        context = Context(palace, "remote", recorder, lambda _: None, seed=1, time_scale=SCALE)
        remote = RemoteTarget(context)
        remote.open()
        self._remotes.append((remote, palace))


@contextmanager
def world(directory: Path) -> Iterator[World]:
    made = World(directory)
    try:
        yield made
    finally:
        made.close()
