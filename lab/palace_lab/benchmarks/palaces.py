"""Palaces to measure on, made once a run by the library that will use them, and their processes."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from palace_lab.errors import LabError, WorkerDiedError
from palace_lab.plan.model import Plan, Shape
from palace_lab.processes.supervise import Worker
from palace_lab.runner.arena import Arena
from palace_lab.runner.deadline import Deadline
from palace_lab.runner.launch import launch
from palace_store.fixes import Fixes

#: Of the embedding models people use most (all-MiniLM-L6-v2), and chromadb's own settings.
SHAPE = Shape(dimension=384, sync_threshold=1000, batch_size=100)
LIBRARIES = ("palace", "chroma")
_DEADLINE_S = 900.0
_FILL_BATCH = 1000


@dataclass
class Palaces:
    """Fresh copies of palaces of a size, and processes that use them."""

    arena: Arena
    release: str
    _made: dict[tuple[str, int], Path] = field(default_factory=dict)

    @contextmanager
    def fresh(self, library: str, drawers: int) -> Iterator[Path]:
        """Yield a directory with a palace of that many drawers; removed afterwards."""
        directory = self._directory()
        try:
            if drawers:
                source = self._filled(library, drawers)
                shutil.copytree(source, directory / "palace", dirs_exist_ok=True)
            yield directory
        finally:
            shutil.rmtree(directory)

    @contextmanager
    def process(self, directory: Path, library: str, name: str, *trace: str) -> Iterator[Worker]:
        """Yield a process with nothing open yet; ended in good order, if it still lives."""
        plan = Plan(steps=(), shape=SHAPE, release=self.release)
        worker = launch(
            self.arena,
            plan,
            directory,
            name,
            target="timed",
            release=self.release,
            fixes=tuple(Fixes.all().words()),
            options={"library": library},
            traceable=trace,
        )
        try:
            yield worker
            with contextlib.suppress(WorkerDiedError):  # killed on purpose: `answer` said so
                worker.send({"exit": True})
                worker.wait_exit(_DEADLINE_S)
        finally:
            worker.close()

    def _filled(self, library: str, drawers: int) -> Path:
        if (library, drawers) not in self._made:
            directory = self._directory()
            with self.process(directory, library, "filler") as worker:
                ask(worker, "open")
                ask(worker, "prepare", first=0, count=drawers)
                ask(worker, "write", batch=_FILL_BATCH)
            self._made[library, drawers] = directory / "palace"
        return self._made[library, drawers]

    def _directory(self) -> Path:
        directory = self.arena.trial_directory()
        for name in ("palace", "history", "logs"):
            (directory / name).mkdir()
        return directory


def tell(worker: Worker, op: str, **args: Any) -> None:
    """Tell a process to do something, and go on at once."""
    worker.send({"do": op, "args": args})


def answer(worker: Worker, *, alone: bool = False) -> Any:
    """Return what a process answers; raises `LabError` if it failed, died or hangs.

    Who is `alone` in a palace and does nothing at all is not waited for.
    """
    deadline = Deadline(seconds=_DEADLINE_S)
    message = deadline.receive_alone(worker) if alone else deadline.receive(worker)
    if message["done"] != "ok":
        raise LabError(f"a benchmark's process failed: {message['error']}")
    return message["value"]


def ask(worker: Worker, op: str, **args: Any) -> Any:
    """Tell a process to do something and return its answer."""
    tell(worker, op, **args)
    return answer(worker)
