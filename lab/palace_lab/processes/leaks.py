"""Which processes are still there when none should be.

Rules: hosts and shepherds are subreapers, so whatever a worker starts stays below its shepherd,
also a double-forked daemon. A zombie is no leak: it only waits for its parent to notice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]  # it is published without type information


@dataclass(frozen=True)
class Leak:
    """A process that should have ended: `worker` is the worker it descends from."""

    worker: str
    pid: int
    command: str


def below(host: int, names: Mapping[int, str], chosen: set[int] | None) -> tuple[Leak, ...]:
    """Return what is alive below the host's shepherds, or below the chosen ones.

    `names` maps a shepherd to its worker's name.
    """
    found: list[Leak | None] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(host).children():
            if child.pid in names and (chosen is None or child.pid in chosen):
                with contextlib.suppress(psutil.NoSuchProcess):
                    below_it = child.children(recursive=True)
                    found += [_leak(names[child.pid], process) for process in below_it]
            elif child.pid not in names and chosen is None:
                found.append(_leak("?", child))  # its shepherd was killed from outside
    return tuple(leak for leak in found if leak is not None)


def sweep(variable: str, value: str, known: Iterable[int], timeout_s: float) -> None:
    """End and reap what came to this process because a host was killed from outside.

    Only processes with that environment variable are killed; `known` are shepherds and workers,
    which the kernel has killed already.
    """
    for pid in known:
        with contextlib.suppress(psutil.Error):
            psutil.Process(pid).wait(timeout_s)
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.environ().get(variable) == value:
                process.kill()
                process.wait(timeout_s)


def _leak(worker: str, process: psutil.Process) -> Leak | None:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return Leak(worker, process.pid, " ".join(process.cmdline()) or process.name())
    except psutil.NoSuchProcess:
        return None
