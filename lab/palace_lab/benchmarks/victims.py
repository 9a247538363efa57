"""Processes that are killed while they write, from the fork server and as fresh interpreters.

Both open a palace, count what is there, and write one drawer or triple after the other; both tell
what was acknowledged in a way that survives them.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
from pathlib import Path
from typing import Protocol

from palace_lab.benchmarks.palaces import Palaces, answer, ask, tell
from palace_lab.errors import LabError, WorkerDiedError
from palace_lab.history.segment import read_segment
from palace_lab.plan.model import OWN, Plan
from palace_lab.processes.supervise import wait_any
from palace_lab.runner.launch import launch

_ENDLESS = 60_000  # of its writes, a history holds the begin and most of the ends
_DEADLINE_S = 120.0
#: Drawers of one process, so that no two processes write the same.
_APART = 100_000
#: A flush every ten drawers, as in most plans: kills in mid-flush are what is looked for.
_SCRIPT = """\
import random, sys
import chromadb
client = chromadb.PersistentClient(sys.argv[1])
settings = {"hnsw:sync_threshold": 10, "hnsw:batch_size": 5}
drawers = client.get_or_create_collection("drawers", metadata=settings)
print(drawers.count(), flush=True)
n = int(sys.argv[2])
while True:
    n += 1
    vector = [random.random() for _ in range(16)]
    drawers.add(ids=[f"d{n}"], embeddings=[vector], documents=[f"drawer {n}"])
    print("ok", flush=True)
"""


class Victim(Protocol):
    """A process that will be killed."""

    def open(self) -> int | None:
        """Open the palace; returns how many drawers or triples it counts, None if it fails."""

    def write(self, seconds: float) -> None:
        """Write for so long, or until it dies."""

    def kill(self) -> int:
        """Kill it; returns how many writes were acknowledged."""


def kill_once(victim: Victim, seconds: float, *, at_least: int) -> int | None:
    """Let a victim open and write for so long, and kill it.

    Returns how many writes were acknowledged, or None if the palace could not be opened any more.
    Raises LabError if the palace holds fewer than the `at_least` acknowledged before.
    """
    try:
        count = victim.open()
        if count is not None:
            victim.write(seconds)
    finally:
        written = victim.kill()
    if count is None:
        return None
    if count < at_least:
        raise LabError(f"{at_least} writes were acknowledged before, and {count} are there")
    return written


class Forked:
    """A worker of the lab. `target` is chroma or triples."""

    def __init__(self, palaces: Palaces, directory: Path, number: int, target: str) -> None:
        name = f"victim{number}"
        self._target = target
        self._history = directory / "history" / f"{name}.hist"
        self._first = number * _APART
        self._worker = launch(
            palaces.arena,
            Plan(steps=(), release=palaces.release),
            directory,
            name,
            target=target,
            release=OWN if target == "triples" else palaces.release,  # SQLite needs no chromadb
            fixes=(),
            options={},
        )

    def open(self) -> int | None:
        """Open the palace; returns how many drawers or triples it counts, None if it fails."""
        with contextlib.suppress(LabError, WorkerDiedError):
            if self._target == "triples":
                ask(self._worker, "open")
                return len(ask(self._worker, "read_all")["triples"])
            return int(ask(self._worker, "opened")["count"])
        return None

    def write(self, seconds: float) -> None:
        """Write for so long, or until it dies."""
        op = "add_triples" if self._target == "triples" else "write"
        tell(self._worker, op, first=self._first, count=_ENDLESS)
        if wait_any([self._worker], seconds):
            answer(self._worker)  # it cannot have written all of that: this raises

    def kill(self) -> int:
        """Kill it; returns how many writes were acknowledged."""
        self._worker.kill()
        self._worker.wait_exit(_DEADLINE_S)
        self._worker.close()
        done = sum(event.phase == "ok" and event.count > 0 for event in read_segment(self._history))
        self._history.unlink()
        return done


class Fresh:
    """An interpreter of its own, which imports chromadb."""

    def __init__(self, palaces: Palaces, directory: Path, number: int) -> None:
        python = palaces.arena.environment(palaces.release).python
        arguments = (str(directory / "palace"), str(number * _APART))
        self._process = start_fresh(python, _SCRIPT, *arguments)

    def open(self) -> int | None:
        """Open the palace; returns how many drawers it counts, None if it fails."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], _DEADLINE_S)[0]:
            raise LabError(f"a fresh interpreter did not open a palace within {_DEADLINE_S:g} s")
        line = self._process.stdout.readline()
        return int(line) if line else None

    def write(self, seconds: float) -> None:
        """Write for so long."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def kill(self) -> int:
        """Kill it; returns how many writes were acknowledged."""
        self._process.kill()
        with self._process as process:
            assert process.stdout is not None
            return process.stdout.read().count(b"ok\n")


def start_fresh(python: Path, script: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start an interpreter of an environment; it writes lines to its standard output."""
    return subprocess.Popen(
        [str(python), "-c", script, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.environ.get("PATH", os.defpath), "ANONYMIZED_TELEMETRY": "False"},
    )
