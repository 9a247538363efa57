"""A remote and machines in the test's own process: real HTTP over a real wire, real files."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from palace_lab.history.segment import Recorder
from palace_lab.targets.base import Context
from palace_lab.targets.memory_files import ADDRESS, REMOTE, machine_file, read_back
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

    def __init__(self, palace: Path, name: str, fixes: Fixes, scale: float) -> None:
        self.place = machine_file(palace, name).parent
        self.key = "right"
        self.url = (palace / REMOTE / ADDRESS).read_text(encoding="ascii")
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


class World:
    """A remote with its wire, and the machines around it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.palace = directory / "palace"
        recorder = Recorder(directory / f"remote-{next(NUMBERS)}.hist", "remote")
        self.remote = RemoteTarget(
            Context(self.palace, "remote", recorder, lambda _: None, seed=1, time_scale=SCALE)
        )
        self.remote.open()
        self._machines: list[Machine] = []

    def machine(self, name: str, fixes: Fixes = ALL, scale: float = SCALE) -> Machine:
        made = Machine(self.palace, name, fixes, scale)
        self._machines.append(made)
        return made

    def read(self) -> dict[str, Any]:
        return read_back(self.palace)

    def there(self) -> list[int]:
        """Return the numbers of the memories at the remote, each as often as it is there."""
        return list(self.read()["remote"]["memories"])

    def close(self) -> None:
        self.remote.heal()
        for machine in self._machines:
            machine.close()
        self.remote.close()


@contextmanager
def world(directory: Path) -> Iterator[World]:
    made = World(directory)
    try:
        yield made
    finally:
        made.close()
