"""Starting one process of a trial: what it is told of the plan, and where its files go."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from palace_lab.plan.model import Plan
from palace_lab.processes.exits import Limits
from palace_lab.processes.supervise import Worker
from palace_lab.runner.arena import Arena


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
    """Start one worker of a trial; its history and log are in the trial's directory."""
    shape = {
        "dimension": plan.shape.dimension,
        "sync_threshold": plan.shape.sync_threshold,
        "batch_size": plan.shape.batch_size,
        "space": plan.shape.space,
        "embedded": plan.shape.embedded,
    }
    return arena.host(release).launch(
        name,
        entry="palace_lab.targets.worker:main",
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
