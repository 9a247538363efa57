"""A memory server as its clients see it: our own, in an environment of its own, over stdio.

How a client gets to its server, and the options for it, are in `mcp_client`; here is what it asks.
A drawer's vector is what the server's model makes of its text: the plan's shape is `embedded`.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from palace_lab.targets.base import Context
from palace_lab.targets.drawers import DrawersTarget
from palace_lab.targets.mcp_answers import ToolFailedError, ToolRefusedError, value_of
from palace_lab.targets.mcp_client import McpClient
from palace_lab.targets.triples import PREDICATE
from palace_lab.workloads.vectors import document, drawer_id

#: Tools that can be timed, and the texts they are given.
_TIMED = {"kg_add": ("subject", "predicate", "object"), "kg_query": ("entity",)}
#: How long a patient client asks again after an upgrade: a restart is tried anew after 5 s.
_PATIENCE_S = 15.0


class McpTarget(McpClient):
    """One client with one server, and what a plan may have it ask."""

    RECORDS_ITSELF = DrawersTarget.RECORDS_ITSELF | {"tell", "end", "work", "write_on"}

    # -- what the operations of drawers are made of -----------------------------------------

    def put(self, how: str, ids: list[str], vectors: list[list[float]], texts: list[str]) -> None:
        """Add each drawer by a call of its own, as an agent does; the server makes the vectors."""
        del vectors
        if how != "add":
            raise ValueError(f"a server has no tool to {how} drawers: write(..., how='add')")
        labels = self.labels(ids) or [{}] * len(ids)
        for name, text, place in zip(ids, texts, labels, strict=True):
            self._change("add_drawer", content=text, id=name, **place)

    def found(self, *, wanted: Sequence[Sequence[int]]) -> dict[str, Any]:
        """Search for each drawer by its own text; the answer is that of `DrawersTarget.found`."""
        self._texts = {
            tuple(self.vector(row[0], revision)): document(row[0], revision)
            for row in wanted
            for revision in row[1:]
        }
        return super().found(wanted=wanted)

    def nearest(self, vectors: list[list[float]], n: int) -> list[list[str]]:
        """Search for the texts behind the vectors."""
        answers = [self._ask("search", query=self._texts[tuple(vector)], n=n) for vector in vectors]
        return [[each["id"] for each in answer["found"]] for answer in answers]

    def count(self) -> int:
        """Return how many drawers the server counts."""
        return int(self.status()["drawers"])

    # -- more operations of a plan -----------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return what the server says of itself."""
        return self._ask("status")

    def search(self, *, query: str, n: int = 1) -> dict[str, Any]:
        """Search for a text."""
        return self._ask("search", query=query, n=n)

    def tell(self, *, n: int, pause: bool = False) -> dict[str, Any]:
        """Add triple n; with `pause`, pause at "in-flight" when the server has surely read it."""
        fact = self._fact(n)
        with self.call("triple", first=n, count=1):
            if not pause:
                return self._change("kg_add", **fact)
            waiting = self._opened().start_task_soon(self._call, "kg_add", fact)
            self._ask("search", query="anything", n=1)  # lines are read in order
            self.context.pause("in-flight")
            return value_of(waiting.result())

    def end(self, *, n: int) -> dict[str, Any]:
        """End triple n now."""
        with self.call("end", first=n, count=1):
            return self._change("kg_invalidate", **self._fact(n))

    def work(self, *, first: int, drawers: int, facts: int) -> dict[str, int]:
        """Write drawers one by one, and beside each of the first `facts` tell a fact and end it.

        Stops at a drawer that is refused; a fact that is refused is counted, as its call says it.
        """
        refused = 0
        for number in range(first, first + drawers):
            self.write(first=number, count=1)
            if number < first + facts:
                try:
                    self.tell(n=number)
                    self.end(n=number)
                except ToolFailedError:
                    refused += 1  # who keeps an agent's memory goes on after a lock
        return {"drawers": drawers, "refused": refused}

    def write_on(self, *, first: int, patient: bool = False) -> dict[str, int]:
        """Add drawers from number `first` on, a call each, until an upgrade is through.

        One more is added after that, and a search follows each. Pauses at "calling" when the first
        was answered. A refusal is counted and the next drawer tried, or, with `patient`, asked
        again until 15 s after the upgrade; any other error is raised. Bounded by the upgrade, and
        by what the lab waits for a step.
        """
        told = {"acknowledged": 0, "refused": 0}
        before, through = self._upgrades(), False
        while not through:
            through = self._upgrades() != before
            number = first + sum(told.values())
            waits = before if patient else None
            try:
                with self.call("add", first=number, count=1):
                    self._asked(
                        "add_drawer", waits, content=document(number, 0), id=drawer_id(number)
                    )
                told["acknowledged"] += 1
            except ToolRefusedError:
                told["refused"] += 1
            with suppress(ToolRefusedError), self.call("search"):  # recorded, then passed over
                self._asked("search", waits, query=document(first, 0), n=1)
            if number == first:
                self.context.pause("calling")
        return told

    def _asked(self, tool: str, upgrades: int | None, **arguments: Any) -> None:
        """Call a tool; with `upgrades` so far, again while it refuses, as `write_on` says."""
        ask = self._change if tool == "add_drawer" else self._ask
        latest_s = math.inf
        while True:
            try:
                ask(tool, **arguments)
            except ToolRefusedError as error:
                if upgrades is None or time.monotonic() > latest_s:
                    raise
                if latest_s == math.inf and self._upgrades() != upgrades:
                    latest_s = time.monotonic() + _PATIENCE_S
                self.context.recorder.write("note", "refused", 0, text=str(error))
            else:
                return

    def _upgrades(self) -> int:
        """Return how many upgrades of the server's environment are through."""
        told = Path(self.context.options["upgrades"])
        return len(told.read_text().splitlines()) if told.exists() else 0

    def timed(self, *, tool: str, count: int) -> dict[str, float]:
        """Call a tool `count` times, each with texts of its own; returns the median seconds."""
        took = []
        for number in range(count):
            begun = time.monotonic()
            self._ask(tool, **{name: f"{name} {number}" for name in _TIMED[tool]})
            took.append(time.monotonic() - begun)
        return {"seconds": statistics.median(took)}

    def _fact(self, n: int) -> dict[str, str]:
        return {
            "subject": f"{self.context.process}-s{n}",
            "predicate": PREDICATE,
            "object": f"o{n}",
        }


def target(context: Context) -> McpTarget:
    """Return the target for the worker loop."""
    return McpTarget(context)
