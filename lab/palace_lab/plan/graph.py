"""Plans about the knowledge graph: what its scenarios have in common, once.

The graph does not depend on chromadb, and nobody has to mend it: it is read back by one observer
that does not use our library.
"""

from __future__ import annotations

from palace_lab.plan.model import Plan, Process
from palace_lab.plan.steps import AnyStep, Begin, Do, Finish, Slow, Together


def on_graph(*steps: AnyStep, time_scale: float = 1.0, processes: tuple[Process, ...] = ()) -> Plan:
    """Return the plan that does these steps to one knowledge graph."""
    return Plan(
        target="triples",
        observers=("triples",),
        time_scale=time_scale,
        processes=processes,
        steps=steps,
    )


def stress(processes: int, triples: int, *, sync_s: float = 0.0, time_scale: float = 1.0) -> Plan:
    """Return the plan in which so many processes add so many triples each, all at once (S2).

    With `sync_s` on a disk that takes so many seconds longer for each sync.
    """
    names = [f"writer{number}" for number in range(processes)]
    work = {"first": 0, "count": triples}
    slow = [Slow(name, "fsync", "*/knowledge.sqlite3*", sync_s) for name in names if sync_s]
    return on_graph(
        *(Do(name, "open") for name in names),
        *slow,
        Together(tuple(Do(name, "add_triples", work) for name in names)),
        time_scale=time_scale,
    )


def held(seconds: float, *, time_scale: float = 1.0) -> Plan:
    """Return the plan in which a peer holds the graph while a writer wants it (S2)."""
    return on_graph(
        Do("writer", "add", {"n": 1}),
        Do("holder", "hold"),
        Begin("writer", "add", {"n": 2}),
        Do("holder", "release", {"after_s": seconds}),
        Finish("writer"),
        time_scale=time_scale,
    )
