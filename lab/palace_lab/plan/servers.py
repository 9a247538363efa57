"""Plans about servers: replaced underneath (S0), or several on one palace (S2)."""

from __future__ import annotations

from typing import Any

from palace_lab.plan.model import Plan, Process, Shape
from palace_lab.plan.steps import AnyStep, Close, Do, Together, Upgrade, write
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
    return Plan(
        shape=Shape(sync_threshold=10, batch_size=5, embedded=True),
        processes=tuple(Process(name, target="mcp", options=options) for name in names),
        steps=(
            write("kitchen", 5, first=9000, batch=1),
            *(Do(name, "status") for name in names),
            Together(
                tuple(
                    write(name, each, first=1000 * number, batch=1)
                    for number, name in enumerate(names)
                )
            ),
            *(Close(name) for name in reversed(names)),
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
