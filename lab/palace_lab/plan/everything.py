"""A plan of all five systems at once: sixteen processes on one palace, round after round.

Each round servers, writers of drawers and triples, writers of texts, and machines with memories
work at the same moment; one writer dies in a flush and one reply of the remote is lost. Half way
the library of one server is replaced underneath it, which then refuses to write.
"""

from __future__ import annotations

from palace_lab.plan.memories import LATER, healed
from palace_lab.plan.model import OWN, Plan, Process, Shape
from palace_lab.plan.servers import OTHER
from palace_lab.plan.steps import AnyStep, Close, Crash, Do, Together, Upgrade, write
from palace_lab.plan.texts import NEW, OLD, embeds

#: Drawers of one writer in one round, triples, texts, calls of a server, memories of a machine.
_DRAWERS, _TRIPLES, _TEXTS, _CALLS, _MEMORIES = 40, 10, 10, 10, 3
_THREADS = 4
_SERVERS = ("kitchen", "study", "garden")
_STALE = "garden"
_MACHINES = ("desk", "laptop")
#: Processes that are not writers of drawers and triples: servers, texts, machines, remote, reader.
OTHERS = 11


def everything(processes: int, drawers: int) -> Plan:
    """Return the plan in which so many processes work until each writer has written `drawers`.

    32 dimensions: with 64 raw chromadb alone does not find 1 or 2 of 8,500 such drawers by their
    own vector (6 of 6 palaces, 1.5.9), with 32 it finds all (docs/s2-measured.md).
    """
    writers = [f"writer{number}" for number in range(max(1, processes - OTHERS - 1))]
    rounds = max(2, drawers // _DRAWERS)
    steps: list[AnyStep] = [
        Do("remote", "open"),
        write("reader", 10, first=900_000),
        Do("one", "write", {"first": 9000, "count": 5}),  # so the texts are of this model
    ]
    for number in range(rounds):
        if number == rounds // 2:
            steps.append(Upgrade(_STALE, library=OTHER))
        steps += _round(number, writers)
    named = (*writers, *_SERVERS, "one", "two", "desk-too", "reader")
    steps += [*(Close(name) for name in named), *healed(*_MACHINES)]
    return Plan(
        target="mixed",
        shape=Shape(dimension=32, sync_threshold=10, batch_size=5, embedded=True),
        observers=("vectors", "texts", "palace", "chroma", "triples", "memories"),
        processes=_processes(),
        steps=tuple(steps),
    )


def _round(number: int, writers: list[str]) -> list[AnyStep]:
    """Return one round; every number of a drawer, text or memory is written by one process once."""
    victim = f"victim{number}"
    at = number * _DRAWERS
    work = {"drawers": _DRAWERS, "triples": _TRIPLES, "batch": 5}
    memories = {"count": _MEMORIES, "threads": _THREADS}
    stored = number * _MEMORIES * _THREADS
    calls = [
        *(Do(name, "work", {"first": 10_000 * n + at, **work}) for n, name in enumerate(writers)),
        Do(victim, "work", {"first": 500_000 + at, **work}),
        *(
            write(name, _CALLS, first=600_000 + 10_000 * n + number * _CALLS, batch=1)
            for n, name in enumerate(_SERVERS)
        ),
        Do("reader", "found", {"wanted": [[900_000 + n, 0] for n in range(10)]}),
        *(
            Do(name, "write", {"first": 1000 * n + number * _TEXTS, "count": _TEXTS, "batch": 5})
            for n, name in enumerate(("one", "two", "other"))
        ),
        *(
            Do(name, "remember_at_once", {"first": 10_000 * n + stored, **memories})
            for n, name in enumerate((*_MACHINES, "desk-too"))
        ),
        Do("remote", "put", {"first": 50_000 + number, "count": 1}),
    ]
    return [
        Crash(victim, "write", "*/index_metadata.pickle", k=1),
        Do("remote", "fault", {"what": "lose-reply", "where": "POST /memories"}),
        Together(tuple(calls)),
        Do("desk", "sync"),
        Close(victim),
    ]


def _processes() -> tuple[Process, ...]:
    machine = {name: {"machine": name} for name in _MACHINES}
    return (
        Process("remote", target="remote", release=OWN),
        *(Process(name, target="mcp", may_refuse=name == _STALE) for name in _SERVERS),
        *(
            Process(each.name, target="texts", may_refuse=each.may_refuse, options=each.options)
            for each in (
                embeds("one", OLD),
                embeds("two", OLD),
                embeds("other", NEW, may_refuse=True),
            )
        ),
        *(Process(name, target="agent", options=machine[name]) for name in _MACHINES),
        *(Process(f"{name}{LATER}", target="agent", options=machine[name]) for name in _MACHINES),
        Process("desk-too", target="agent", options=machine["desk"]),
    )
