"""What is done to the calls of a process for a whole trial: they fail, or they take longer.

Beside the point that does it another one records the calls: a goal has to know whether the process
came to any.
"""

from __future__ import annotations

from dataclasses import replace

from palace_lab.plan import steps
from palace_lab.processes.points import CrashPoint

Trouble = steps.Fail | steps.Slow


def points_of(step: Trouble, time_scale: float) -> tuple[CrashPoint, CrashPoint]:
    """Return the point that records the calls, and the one that fails them or slows them down."""
    record = CrashPoint(step.syscall, step.pattern, step.k, "record", repeat=None)
    if isinstance(step, steps.Fail):
        return record, replace(record, action="fail", errno=step.errno)
    return record, replace(record, action="slow", delay_s=step.seconds * time_scale)


def goal_of(step: Trouble) -> str:
    """Return what a trial with this step has to come to."""
    what = "failed" if isinstance(step, steps.Fail) else "slowed down"
    return f"{step.process} {what} at {step.syscall} {step.pattern}"
