"""Plans about several clients on one palace (S2): how they reach it, and who is cut off."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from palace_lab.plan.model import Plan, Process, Shape
from palace_lab.plan.steps import (
    AnyStep,
    Begin,
    Close,
    Do,
    Elapse,
    Finish,
    Go,
    Kill,
    Paused,
    Together,
    write,
)

#: The clients of S2, in the order in which they open the palace.
NAMES = ("kitchen", "study", "garden")


def three_clients(**options: Any) -> Plan:
    """Return the plan of three clients that work in one palace at once, through servers.

    Each writes drawers, tells and ends facts, and then looks for what all have written by then,
    twice.
    """
    plan = _clients(
        NAMES, options, *(Do(name, "status") for name in NAMES), *_at_once(20, facts=20, rounds=2)
    )
    return plan.changed(observers=(*plan.observers, "triples"))


def large_palace(**options: Any) -> Plan:
    """Return the plan of three clients in a palace of the report's size: 28,000 in 15 wings (S2).

    16 dimensions: chromadb alone then finds all of so many by their own vectors, measured on three
    releases; with 64 a healthy index misses some (docs/s2-measured.md). Flushed every 200.
    """
    wings = {"wings": 15}
    return Plan(
        shape=Shape(sync_threshold=200, batch_size=100, embedded=True),
        processes=(
            Process("importer", options=wings),
            *(Process(name, target="mcp", options={**options, **wings}) for name in NAMES),
        ),
        observers=("palace", "chroma", "triples"),
        steps=(
            write("importer", 28_000, first=10_000, batch=500),
            Close("importer"),
            *(Do(name, "status") for name in NAMES),
            *_at_once(300, facts=40, rounds=1),
        ),
    )


def _at_once(each: int, *, facts: int, rounds: int) -> list[AnyStep]:
    """Return rounds in which three clients work at once, then look for a quarter of all of it.

    `each` is the drawers of one client in one round, `facts` how many of them have a fact beside.
    """
    steps: list[AnyStep] = []
    written: list[int] = []
    for turn in range(rounds):
        begins = {name: 1000 * n + turn * each for n, name in enumerate(NAMES)}
        work = {"drawers": each, "facts": facts}
        steps.append(
            Together(tuple(Do(name, "work", {"first": at, **work}) for name, at in begins.items()))
        )
        written += [number for at in begins.values() for number in range(at, at + each)]
        wanted = [[number, 0] for number in written[3::4]]  # the last of each client among them
        steps.append(Together(tuple(Do(name, "found", {"wanted": wanted}) for name in NAMES)))
    return [*steps, *(Close(name) for name in reversed(NAMES))]


def client_cut(**options: Any) -> Plan:
    """Return the plan of three clients of which one is killed in mid-call, and comes back.

    The one that is killed has more to write than it can by then; who comes back writes a part.
    """
    first, each = {"kitchen": 0, "garden": 1000, "study": 2000}, 40
    counts = {"study": 10 * each}
    calls = [write(name, counts.get(name, each), first=at, batch=1) for name, at in first.items()]
    return _clients(
        (*first, "study-again"),
        options,
        *(Do(name, "status") for name in ("garden", "study")),
        *(Begin(call.process, call.op, call.args) for call in calls),
        Elapse(0.5),
        Kill("study"),
        write("study-again", each, first=first["study"], batch=1),
        Finish("garden"),
        Finish("kitchen"),
        *(Close(name) for name in ("study-again", "garden", "kitchen")),
    )


def connection_cut(**options: Any) -> Plan:
    """Return the plan of three clients of one server, one of which loses its connection once.

    The reply to its tenth drawer is cut in the middle; it repeats that call and goes on.
    """
    first, each = {"kitchen": 0, "garden": 1000}, 40
    calls = [write(name, each, first=at, batch=1) for name, at in first.items()]
    plan = _clients(
        first,
        options,
        *(Do(name, "status") for name in ("garden", "study")),
        *(Begin(call.process, call.op, call.args) for call in calls),
        Begin("study", "write_cut", {"first": 2000, "count": 20, "at": 10}),
        Paused("study", "cut-off"),
        Go("study"),
        *(Finish(name) for name in ("study", *first)),
        Do("study", "found", {"wanted": [[number, 0] for number in range(2000, 2020)]}),
        *(Close(name) for name in ("study", "garden", "kitchen")),
    )
    cut = Process("study", target="mcp_cut", options=options)
    return plan.changed(processes=(*plan.processes, cut))


def _clients(names: Iterable[str], options: dict[str, Any], *steps: AnyStep) -> Plan:
    """Return a plan of clients of servers; what they find there flushes often."""
    return Plan(
        shape=Shape(sync_threshold=10, batch_size=5, embedded=True),
        processes=tuple(Process(name, target="mcp", options=options) for name in names),
        steps=(write("kitchen", 5, first=9000, batch=1), *steps),
    )


def three_writers(**options: Any) -> Plan:
    """Return the plan of three processes that write with raw chromadb, and one of ours after."""
    calls = [write(name, 200, first=1000 * number) for number, name in enumerate(NAMES)]
    wanted = [[number, 0] for call in calls for number in _numbers(call)]
    return Plan(
        shape=Shape(sync_threshold=50, batch_size=10),
        processes=tuple(Process(name, target="chroma", options=options) for name in NAMES),
        steps=(
            *(write(name, 5, first=9000 + 10 * n) for n, name in enumerate(NAMES)),
            Together(tuple(calls)),
            *(Close(name) for name in reversed(NAMES)),
            Do("ours", "found", {"wanted": wanted}),
        ),
    )


def _numbers(call: Do) -> range:
    return range(call.args["first"], call.args["first"] + call.args["count"])
