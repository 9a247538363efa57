"""What came of the steps of one trial: answers, ends, hangs, and whether each fault was reached.

A goal is a fault of the plan in words. One that is False was meant and not reached, so that what
held has not been shown to hold against it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from palace_lab.checks.evidence import Evidence
from palace_lab.plan import steps
from palace_lab.processes.exits import Exit

Answer = dict[str, Any]


@dataclass(frozen=True)
class Hang:
    """A process that did not answer within the plan's deadline."""

    process: str
    op: str
    waited_s: float
    stack: str


@dataclass(frozen=True)
class Checked:
    """What fresh processes saw in mid-plan: at which step, of which release."""

    step: int
    release: str
    evidence: Evidence


@dataclass
class Outcome:
    """What came of the steps, besides what the history says."""

    answers: list[tuple[str, str, Answer]] = field(default_factory=list)  # process, op, answer
    exits: dict[str, Exit] = field(default_factory=dict)
    died_ns: dict[str, int] = field(default_factory=dict)  # when each end was known
    hangs: list[Hang] = field(default_factory=list)
    goals: dict[str, bool] = field(default_factory=dict)  # was each fault reached?
    recorded: dict[int, int] = field(default_factory=dict)  # step number of a Crash: calls seen
    checked: list[Checked] = field(default_factory=list)  # what was seen at each `Check`


def killed_at(step: steps.Crash) -> str:
    """Return the goal of a crash point."""
    return f"{step.process} killed at {step.syscall} {step.pattern} k={step.k}"


def backdated(step: steps.Backdate) -> str:
    """Return the goal of setting times back."""
    return f"backdated {step.pattern}"
