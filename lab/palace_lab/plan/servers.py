"""Plans about servers: replaced underneath (S0), or of two models (S3)."""

from __future__ import annotations

from typing import Any

from palace_lab.plan.model import Plan, Process, Shape
from palace_lab.plan.steps import (
    AnyStep,
    Begin,
    Close,
    Do,
    Finish,
    Go,
    Paused,
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


def called_during(upgrade: Upgrade, *, started_with: str = "0.6.3") -> Plan:
    """Return the plan of a server that is called, call after call, while an installer is at work.

    It is started by its own program, which the installer replaces as well.
    """
    options = {"told_stale": "error", "start": "program"}
    return Plan(
        shape=SHAPE,
        processes=(
            Process("server", target="mcp", release=started_with, may_refuse=True, options=options),
        ),
        steps=(
            write("server", 12, batch=1),
            Begin("server", "write_on", {"first": 12}),
            Paused("server", "calling"),
            Go("server"),
            upgrade,
            Finish("server"),
            Close("server"),
        ),
    )


def restarted(upgrade: Upgrade, *, started_with: str = "0.6.3") -> Plan:
    """Return the plan of a server that may restart itself, called while it is being replaced."""
    options = {"arguments": ["--restart"], "start": "program"}
    return Plan(
        shape=SHAPE,
        processes=(Process("server", target="mcp", release=started_with, options=options),),
        steps=(
            write("server", 12, batch=1),
            Begin("server", "write_on", {"first": 1000, "patient": True}),
            Paused("server", "calling"),
            Go("server"),
            upgrade,
            Finish("server"),
            write("upgraded", 12, first=12),
            write("server", 12, first=24, batch=1),
            Close("server"),
            Close("upgraded"),
        ),
    )


def two_models(first: str, second: str) -> Plan:
    """Return the plan of two servers on one palace, each with a model of its own (S3).

    The second one writes what the first has, too, and searches. Vectors are read from the files.
    """
    models = {"old": first, "new": second}
    search = {"query": "drawer 0 revision 0", "n": 5}
    return Plan(
        shape=Shape(dimension=64, embedded=True),
        observers=("drawer_vectors", "palace"),
        processes=tuple(
            Process(
                name,
                target="mcp",
                may_refuse=name == "new",
                options={"arguments": ["--model", model]},
            )
            for name, model in models.items()
        ),
        steps=(
            write("old", 20, batch=1),
            write("new", 20, first=10, batch=1),
            Do("new", "search", search),
            Do("old", "search", search),
            *(Close(name) for name in models),
        ),
    )


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
