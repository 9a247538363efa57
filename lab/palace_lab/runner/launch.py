"""Starting one process of a trial: what it is told of the plan, what it may use, its files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from palace_lab.checks.evidence import Baseline
from palace_lab.errors import UsageError
from palace_lab.plan.mistakes import why_no_target
from palace_lab.plan.model import Plan
from palace_lab.processes.exits import Limits
from palace_lab.processes.supervise import Worker
from palace_lab.runner.arena import Arena
from palace_lab.runner.deadline import STEP_S_MAX, seconds_for

#: What a process of a trial may use. A torn index makes chromadb write gigabytes for 30 drawers.
_FILE_BYTES = 64 * 1024 * 1024
_FILE_TIMES = 20
_MEMORY_BYTES = 16 << 30
#: Of a process that only looks, at least, and of one that lives through a trial. What spins there
#: its deadline finds: a server of `s2/all-at-once` uses 15 s a minute, and died of its 120 s.
_LOOK_CPU_S = 120
_TRIAL_CPU_S = 3600
_TARGETS = "palace_lab.targets"


def limits_for(baseline: Baseline | None, *, looks: bool = False) -> Limits:
    """Return the limits of a trial's processes: far above what a healthy palace takes."""
    healthy = 0 if baseline is None else baseline.allocated_bytes
    return Limits(
        file_size_bytes=_FILE_BYTES + _FILE_TIMES * healthy,
        memory_bytes=_MEMORY_BYTES,
        cpu_s=_look_cpu_s(baseline) if looks else _TRIAL_CPU_S,
    )


def _look_cpu_s(baseline: Baseline | None) -> int:
    """Return what is out of reach before the deadline, also on a machine where that is long."""
    longest_s = STEP_S_MAX if baseline is None else seconds_for(baseline)
    return max(_LOOK_CPU_S, math.ceil(2 * longest_s))


def launch(
    arena: Arena,
    plan: Plan,
    directory: Path,
    name: str,
    *,
    target: str,
    release: str,
    fixes: tuple[str, ...],
    options: Mapping[str, Any],
    traceable: tuple[str, ...] = (),
    limits: Limits | None = None,
) -> Worker:
    """Start one worker of a trial; its history and log are in the trial's directory.

    Raises `UsageError` for a target that there is not.
    """
    if why := why_no_target(target):
        raise UsageError(f"process {name} is of target {target!a:.80}, but {why}")
    shape = {
        "dimension": plan.shape.dimension,
        "sync_threshold": plan.shape.sync_threshold,
        "batch_size": plan.shape.batch_size,
        "space": plan.shape.space,
        "embedded": plan.shape.embedded,
    }
    return arena.host(release).launch(
        name,
        entry=f"{_TARGETS}.worker:main",
        config={
            "target": target,
            "palace": str(directory / "palace"),
            "history": str(directory / "history" / f"{name}.hist"),
            "process": name,
            "seed": plan.seed,
            "fixes": list(fixes),
            "time_scale": plan.time_scale,
            "options": {**shape, **options},
        },
        traceable=traceable,
        limits=limits,
        log=directory / "logs" / f"{name}.log",
        root=directory / "palace",
    )
