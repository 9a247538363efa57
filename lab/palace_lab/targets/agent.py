"""A machine whose memories are synced with a remote: a store, an engine, and what users do (S4)."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from palace_lab.targets.base import Context
from palace_lab.targets.memories import MemoriesTarget
from palace_lab.targets.memory_files import ADDRESS, REMOTE, words_of
from palace_store.sync import Round, SyncEngine

Answer = dict[str, Any]


class NotThereError(Exception):
    """A memory is not on this machine, where the plan says that it has to be by now."""


class AgentTarget(MemoriesTarget):
    """A `MemoriesTarget` with a sync engine. The option `key` is what it begins with."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._key = str(context.options.get("key", "right"))
        self._engine: SyncEngine | None = None

    def open(self, **rest: Any) -> Answer:
        """Open the memories; the engine does nothing yet."""
        opened = super().open(**rest)
        address = self.context.palace / REMOTE / ADDRESS
        self._engine = SyncEngine(
            self.opened(),
            address.read_text(encoding="ascii"),
            key=lambda: self._key,
            time_scale=self.scale,
            seed=self.context.seed,
        )
        return opened

    def close(self) -> None:
        """Stop the engine, close the memories."""
        if self._engine is not None:
            self._engine.stop()
            self._engine = None
        super().close()

    def start(self) -> Answer:
        """Let the engine work in its own thread."""
        self._syncing().start()
        return {"started": True}

    def sync(self, *, rounds: int = 1, full: bool | None = None) -> Answer:
        """Do rounds now."""
        return self._told([self._syncing().sync(full=full) for _ in range(rounds)])

    def push(self, *, rounds: int = 1) -> Answer:
        """Only push."""
        return self._told([self._syncing().push() for _ in range(rounds)])

    def pull(self, *, full: bool = False) -> Answer:
        """Only pull."""
        return self._told([self._syncing().pull(full=full)])

    def correct_key(self, *, key: str) -> Answer:
        """Put another key where the engine finds it."""
        self._key = key
        return {"key": key}

    def retry_parked(self) -> Answer:
        """Let what was given up be tried again."""
        return {"retried": self._syncing().retry_parked()}

    def recall(self, *, n: int) -> Answer:
        """Ask for memory n; says whether the remote was heard, and how long that took."""
        began = time.monotonic()
        answer = self._syncing().recall(words_of(n))
        return {
            "found": [memory.content for memory in answer.memories],
            "complete": answer.complete,
            "note": answer.note,
            "waited_s": time.monotonic() - began,
        }

    def know(self, *, first: int, count: int = 1) -> Answer:
        """Make sure that these memories are on this machine now."""
        known = {memory.content for memory in self.opened().all()}
        missing = [n for n in range(first, first + count) if words_of(n) not in known]
        if missing:
            raise NotThereError(f"{len(missing)} memories are not here yet: {missing[:6]}")
        return {"known": count}

    def status(self) -> Answer:
        """Say how things stand."""
        return asdict(self._syncing().status())

    def _syncing(self) -> SyncEngine:
        if self._engine is None:
            raise RuntimeError("the agent is not open: the plan must open it in this process first")
        return self._engine

    @staticmethod
    def _told(rounds: list[Round]) -> Answer:
        return {
            "pulled": sum(each.pulled for each in rounds),
            "pushed": sum(each.pushed for each in rounds),
            "problems": [problem for each in rounds for problem in each.problems],
        }


def target(context: Context) -> AgentTarget:
    """Return the target for the worker loop."""
    return AgentTarget(context)
