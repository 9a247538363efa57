"""Drawers and triples of one palace in one process, as an agent's memory server keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from palace_lab.targets.base import Context
from palace_lab.targets.palace import PalaceTarget
from palace_lab.targets.triples import TriplesTarget


class MixedTarget(PalaceTarget):
    """A `PalaceTarget` with a knowledge graph beside it.

    The triples of a process are its own, unless the option `graph` names whose they are: processes
    with the same name there tell, end and ask about the same triples.
    """

    RECORDS_ITSELF = PalaceTarget.RECORDS_ITSELF | {"work", "tell", "end"}

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        owner = str(context.options.get("graph", context.process))
        self.graph = TriplesTarget(replace(context, process=owner))

    def open(self) -> None:
        """Open both."""
        super().open()
        self.graph.open()

    def work(self, *, first: int, drawers: int, triples: int, batch: int = 5) -> dict[str, int]:
        """Write drawers and triples in turns: a batch of one, then its share of the other."""
        rounds = max(1, -(-drawers // batch))
        done = 0
        for turn in range(rounds):
            start = turn * batch
            self.write(first=first + start, count=min(batch, drawers - start), batch=batch)
            share = triples * (turn + 1) // rounds
            self.graph.add_triples(first=done, count=share - done)
            done = share
        return {"drawers": drawers, "triples": done}

    def tell(self, *, n: int) -> dict[str, Any]:
        """Add triple n to the graph."""
        with self._graph_errors():
            return self.graph.add(n=n)

    def end(self, *, n: int, day: int) -> dict[str, Any]:
        """End triple n on a day."""
        with self._graph_errors():
            return self.graph.end(n=n, day=day)

    def held(self, *, numbers: list[int], day: int) -> dict[str, Any]:
        """Ask which of these triples held on a day."""
        return self.graph.held(numbers=numbers, day=day)

    @contextmanager
    def _graph_errors(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.recorded_error = self.graph.recorded_error
            raise

    def close(self) -> None:
        """Close both."""
        self.graph.close()
        super().close()


def target(context: Context) -> MixedTarget:
    """Return the target for the worker loop."""
    return MixedTarget(context)
