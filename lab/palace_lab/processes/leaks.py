"""Which processes are still there when none should be.

Rules: hosts and shepherds are subreapers, so whatever a worker starts stays below its shepherd,
also a double-forked daemon. A zombie is no leak: it only waits for its parent to notice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
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

    `names` maps a shepherd to its worker's name. One look at all processes decides who descends
    from whom: a shepherd that ends between two looks would hide what it leaves, which is its child
    in the first and its host's in the second. What it left is then nobody's any more, but "?".
    """
    parents = {each.pid: each.info["ppid"] for each in psutil.process_iter(["ppid"])}
    found = []
    for pid in parents:
        line = list(_line(pid, parents))
        if host not in line or pid in names or pid == host:
            continue
        shepherd = next((each for each in line if each in names), None)
        if chosen is None or shepherd in chosen:
            found.append(_leak("?" if shepherd is None else names[shepherd], pid))
    return tuple(leak for leak in found if leak is not None)


def _line(pid: int, parents: Mapping[int, int | None]) -> Iterator[int]:
    """Yield the process and its forebears, as one look at all processes has them."""
    seen: set[int] = set()
    found: int | None = pid
    while found is not None and found not in seen:
        seen.add(found)
        yield found
        found = parents.get(found)


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


def _leak(worker: str, pid: int) -> Leak | None:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return Leak(worker, process.pid, " ".join(process.cmdline()) or process.name())
    except psutil.NoSuchProcess:
        return None
