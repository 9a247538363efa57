"""Main's side of the drift proof: palaces ruined by real writers, readers that may die of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from store_bench import LIMITS

from palace_lab.errors import DeadlineError
from palace_lab.processes.supervise import Host, Worker, WorkerGoneError
from palace_store.fixes import Fixes

ALL = tuple(Fixes.all().words())
ANSWER_S = 120.0
#: What the reports have: the dimension of MiniLM. The rest brings a flush into each turn or two.
SHAPE = {"dimension": 384, "sync_threshold": 10, "batch_size": 5, "space": "cosine"}
ROUNDS, BATCH = 20, 5
FOUNDED = range(5000, 5005)


@dataclass
class Reading:
    """What became of one fresh reader: its signal, an error, or the drawers it did not find."""

    signal: int | None = None
    error: str = ""
    listed: set[int] = field(default_factory=set)
    missing: set[int] = field(default_factory=set)
    named: set[int] = field(default_factory=set)  # of which our library says that it has no vector

    @property
    def whole(self) -> bool:
        """Tell whether it lived, had no error and found everything."""
        return self.signal is None and not self.error and not self.missing


class Ruins:
    """Makes palaces on one release, and reads copies of them."""

    def __init__(self, host: Host, directory: Path, **shape: Any) -> None:
        self.host = host
        self.directory = directory
        self.shape = {**SHAPE, **shape}
        self._made = 0

    @contextmanager
    def worker(self, palace: Path, target: str, seed: int) -> Iterator[Worker]:
        self._made += 1
        name = f"drift{self._made}"
        config = {
            "target": target, "palace": str(palace), "process": name, "seed": seed,
            "history": str(self.directory / f"{name}.hist"), "fixes": ALL, "time_scale": 1.0,
            "options": self.shape,
        }  # fmt: skip
        entry = "palace_lab.targets.worker:main"
        with self.host.launch(name, entry=entry, config=config, limits=LIMITS) as worker:
            yield worker

    def ruined(self, seed: int, founder: str) -> tuple[Path, list[int]]:
        """Return a palace two raw writers wrote in strict turns, and the drawers acknowledged.

        `founder` made it and wrote the first drawers: "palace", so that its log is kept, or
        "chroma", so that chromadb purges it as ever.
        """
        palace = self.directory / f"palace-{founder}-{seed}"
        palace.mkdir()
        with self.worker(palace, founder, seed) as worker:
            ask(worker, "open")
            acknowledged = write(worker, FOUNDED)
            worker.send({"exit": True})
            assert worker.wait_exit(ANSWER_S).clean
        with self.worker(palace, "chroma", seed) as one, self.worker(palace, "chroma", seed) as two:
            for worker in (one, two):
                ask(worker, "open")
            for turn in range(2 * ROUNDS):
                numbers = range(turn * BATCH, (turn + 1) * BATCH)
                acknowledged += write((one, two)[turn % 2], numbers)
        return palace, acknowledged

    def read_copy(self, palace: Path, target: str, seed: int, numbers: Sequence[int]) -> Reading:
        """Open a copy in a fresh process, count, list, and find each drawer by its own vector."""
        copy = self.directory / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(palace, copy)
        with self.worker(copy, target, seed) as worker:
            try:
                ask(worker, "opened")
                listed = set(ask(worker, "listed")["numbers"])
                found = ask(worker, "found", wanted=[[number, 0] for number in numbers])
                named = ask(worker, "unfindable")["numbers"] if target == "palace" else ()
            except WorkerGoneError:
                ended = worker.wait_exit(ANSWER_S)
                return Reading(None if ended.by_lab else ended.signal, ended.describe())
            except (RuntimeError, DeadlineError) as error:
                return Reading(error=str(error))
        missing = set(found["missing"])
        return Reading(None, "; ".join(found["errors"]), listed, missing, set(named))


def ask(worker: Worker, op: str, **args: Any) -> Any:
    """Do one operation; raises RuntimeError with what the target said, or WorkerGoneError."""
    worker.send({"do": op, "args": args})
    answer = worker.receive(ANSWER_S)
    if answer["done"] != "ok":
        raise RuntimeError(answer["error"])
    return answer["value"]


def write(worker: Worker, numbers: range) -> list[int]:
    """Write the drawers in one call that must be acknowledged; returns their numbers."""
    ask(worker, "write", first=numbers.start, count=len(numbers), batch=len(numbers))
    return list(numbers)
