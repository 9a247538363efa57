"""Plans about texts and the models that embed them: what their scenarios have in common, once."""

from __future__ import annotations

from palace_lab.plan.model import Plan, Process, Shape
from palace_lab.plan.steps import AnyStep, Do

#: Models of one dimension, as in the report.
OLD, NEW = "stand-in-a", "stand-in-b"


def embeds(name: str, model: str, *, may_refuse: bool = False) -> Process:
    """Return a process that embeds with a model of its own."""
    return Process(name, may_refuse=may_refuse, options={"model": model})


def on_texts(*steps: AnyStep, processes: tuple[Process, ...]) -> Plan:
    """Return the plan that does these steps to the texts of one palace.

    Its vectors are read from the files first, before an observer may have mended anything.
    """
    return Plan(
        target="texts",
        shape=Shape(dimension=64),
        observers=("vectors", "texts"),
        processes=processes,
        steps=steps,
    )


def neighbours(process: str, count: int, *, first: int = 0) -> Do:
    """Return the step in which a process searches by texts that are there."""
    return Do(process, "neighbours", {"numbers": list(range(first, first + count))})
