"""Plans about servers: replaced underneath (S0), or several on one palace (S2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from palace_lab.plan.model import Plan, Process, Shape
from palace_lab.plan.steps import (
    AnyStep,
    Begin,
    Close,
    Do,
    Elapse,
    Finish,
    Kill,
    Together,
    Upgrade,
    write,
)
from palace_store import __version__

SHAPE = Shape(embedded=True)
#: The version of the library, and another: the same code under another number.
NOW, OTHER = __version__, "0.2.0"


def upgraded(upgrade: Upgrade, *, started_with: str = "0.6.3") -> Plan:
    """Return the plan of a server of an old release that goes on beside a process of the new."""
    return Plan(
        shape=SHAPE,
        processes=(Process("server", target="mcp", release=started_with, may_refuse=True),),
        steps=(
            write("server", 20, batch=1),
            upgrade,
            write("upgraded", 20, first=20),
            write("server", 20, first=40, batch=1),
            Close("server"),
            Close("upgraded"),
        ),
    )


def three_clients(**options: Any) -> Plan:
    """Return the plan of three clients that remember in one palace at once, through servers."""
    names, each = ("kitchen", "study", "garden"), 40
    calls = [write(name, each, first=1000 * n, batch=1) for n, name in enumerate(names)]
    return _clients(
        names,
        options,
        *(Do(name, "status") for name in names),
        Together(tuple(calls)),
        *(Close(name) for name in reversed(names)),
    )


def large_palace(**options: Any) -> Plan:
    """Return the plan of three clients in a palace of the report's size: 28,000 in 15 wings (S2).

    16 dimensions: chromadb alone then finds all of so many by their own vectors, measured on three
    releases; with 64 a healthy index misses some (docs/s2-concurrency.md). Flushed every 200.
    """
    names, each = ("kitchen", "study", "garden"), 300
    wings = {"wings": 15}
    return Plan(
        shape=Shape(sync_threshold=200, batch_size=100, embedded=True),
        processes=(
            Process("importer", options=wings),
            *(Process(name, target="mcp", options={**options, **wings}) for name in names),
        ),
        steps=(
            write("importer", 28_000, first=10_000, batch=500),
            Close("importer"),
            *(Do(name, "status") for name in names),
            Together(
                tuple(write(name, each, first=1000 * n, batch=1) for n, name in enumerate(names))
            ),
            *(Close(name) for name in reversed(names)),
        ),
    )


def client_cut(**options: Any) -> Plan:
    """Return the plan of three clients of which one is cut off in mid-call, and comes back."""
    first, each = {"kitchen": 0, "garden": 1000, "study": 2000}, 40
    calls = [write(name, each, first=number, batch=1) for name, number in first.items()]
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


def _clients(names: Sequence[str], options: dict[str, Any], *steps: AnyStep) -> Plan:
    """Return a plan of clients of servers; what they find there flushes often."""
    return Plan(
        shape=Shape(sync_threshold=10, batch_size=5, embedded=True),
        processes=tuple(Process(name, target="mcp", options=options) for name in names),
        steps=(write("kitchen", 5, first=9000, batch=1), *steps),
    )


def three_writers(**options: Any) -> Plan:
    """Return the plan of three processes that write with raw chromadb, and one of ours after."""
    names, each = ("kitchen", "study", "garden"), 200
    calls = [write(name, each, first=1000 * number) for number, name in enumerate(names)]
    wanted = [[number, 0] for call in calls for number in _numbers(call)]
    return Plan(
        shape=Shape(sync_threshold=50, batch_size=10),
        processes=tuple(Process(name, target="chroma", options=options) for name in names),
        steps=(
            *(write(name, 5, first=9000 + 10 * n) for n, name in enumerate(names)),
            Together(tuple(calls)),
            *(Close(name) for name in reversed(names)),
            Do("ours", "found", {"wanted": wanted}),
        ),
    )


def _numbers(call: Do) -> range:
    return range(call.args["first"], call.args["first"] + call.args["count"])


def replaced(upgrade: AnyStep, **options: Any) -> Plan:
    """Return the plan of a server that is told to write when its library has been replaced."""
    return Plan(
        shape=SHAPE,
        processes=(
            Process(
                "server", target="mcp", may_refuse=True, options={"told_stale": "error", **options}
            ),
        ),
        steps=(
            write("server", 5, batch=1),
            upgrade,
            write("server", 5, first=5, batch=1),
            Close("server"),
        ),
    )
