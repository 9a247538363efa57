"""Main's side: hosts, the workers they fork, and everything that can be asked of them.

Rules: one host per environment; several threads of main may launch from one host, each handling its
own workers. A host is started from main's main thread, because the kernel ends it with the thread
that started it: so a SIGKILL of main leaves no process. Closing a host ends every process below it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, final

from palace_lab.errors import RefusedError, UsageError
from palace_lab.processes import leaks, wire
from palace_lab.processes.exits import Exit, Limits, Usage, WorkerGoneError
from palace_lab.processes.handle import Worker, wait_any
from palace_lab.processes.leaks import Leak
from palace_lab.processes.line import ANSWER_S
from palace_lab.processes.points import FAMILIES, CrashPoint, Hit
from palace_lab.processes.probe import tracing_available
from palace_lab.processes.spawn import HostProcess

__all__ = [
    "DEFAULT_PRELOAD",
    "CrashPoint",
    "Exit",
    "Hit",
    "Host",
    "Leak",
    "Limits",
    "Usage",
    "Worker",
    "WorkerGoneError",
    "tracing_available",
    "wait_any",
]

TracingMode = Literal["auto", "seccomp", "syscall"]

#: chromadb and what its first client imports: without the latter a fork's first client takes
#: 0.53 s on 0.6.3, 0.31 s on 1.0.21, 0.11 s on 1.5.9; modules a release does not have are skipped.
DEFAULT_PRELOAD: tuple[str, ...] = (
    "chromadb",
    "chromadb.telemetry.product.posthog",
    "chromadb.api.rust",
    "chromadb.api.segment",
    "chromadb.db.impl.sqlite",
    "chromadb.execution.executor.local",
    "chromadb.quota.simple_quota_enforcer",
    "chromadb.rate_limit.simple_rate_limit",
    "chromadb.segment.impl.manager.local",
    "chromadb.segment.impl.metadata.sqlite",
    "chromadb.segment.impl.vector.local_persistent_hnsw",
)

#: A cold import of chromadb from a slow card takes most of this.
_READY_S = 120.0


@final
class Host:
    """One environment's fork server.

    `scratch` is an existing directory of this run: logs go to ``scratch/logs``, and ``HOME`` and
    ``TMPDIR`` of the environment's processes lie in it. `environ` is added to a small fixed
    environment (PATH, LANG, HOME, TMPDIR, PYTHONHASHSEED=0); nothing else of main's is passed on.
    `extra_roots` are further directories to import from, after the environment's own.
    """

    def __init__(
        self,
        python: Path,
        import_root: Path,
        scratch: Path,
        *,
        name: str,
        preload: Sequence[str] = DEFAULT_PRELOAD,
        environ: Mapping[str, str] | None = None,
        extra_roots: Sequence[Path] = (),
    ) -> None:
        self.name = name
        self.facts: Mapping[str, Any] = {}
        self._scratch = scratch.resolve()
        self._preload = list(preload)
        self._process = HostProcess(
            python,
            [str(import_root), *map(str, extra_roots)],
            self._scratch,
            name=name,
            environ=dict(environ or {}),
        )
        self._lock = threading.Lock()
        self._started = False
        self._workers: dict[int, Worker] = {}

    def start(self) -> None:
        """Start the host without waiting until it is ready; several can import at once."""
        if self._started:
            return
        self._process.start()
        self._started = True
        with contextlib.suppress(OSError):  # if it has ended already, `wait_ready` says why
            self._process.send({"preload": self._preload})

    def wait_ready(self) -> None:
        """Wait until the host has imported what it preloads; `facts` then says what it found."""
        if self.facts:
            return
        self.start()
        try:
            self.facts = _usable(self.name, self._process.answer(_READY_S)["ready"])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Host:
        self.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def launch(
        self,
        name: str,
        *,
        entry: str,
        config: Mapping[str, Any],
        points: Sequence[CrashPoint] = (),
        traceable: Sequence[str] = (),
        limits: Limits | None = None,
        log: Path | None = None,
        root: Path | None = None,
        cwd: Path | None = None,
        tracing: TracingMode = "auto",
    ) -> Worker:
        """Fork a worker that calls `entry` ("package.module:function") with (channel, config).

        `points` are armed from the start; `traceable` names further syscall families at which
        `Worker.arm` may put points later. Paths of hits are relative to `root` (default: the
        scratch directory, which is also the default `cwd`). `tracing` "auto" uses a seccomp filter
        and falls back to stopping at every call where the kernel allows none.

        Raises RefusedError if this machine does not allow what was asked.
        """
        limits = limits or Limits()
        trace = sorted({point.syscall for point in points} | set(traceable))
        _check_launch(entry, trace)
        log = (log or self._scratch / "logs" / f"{name}.log").resolve()
        request = {
            "name": name,
            "entry": entry,
            "config": dict(config),
            "points": [point.to_wire() for point in points],
            "trace": trace,
            "tracing": tracing,
            "limits": limits.to_wire(),
            "log": str(log),
            "root": str((root or self._scratch).resolve()),
            "cwd": str((cwd or self._scratch).resolve()),
        }
        channel, channel_fd = wire.pair(ANSWER_S)
        watch, watch_fd = wire.pair(ANSWER_S)
        try:
            launched = self._process.ask({"launch": request}, (channel_fd, watch_fd))
        except BaseException:
            channel.close()
            watch.close()
            raise
        finally:
            os.close(channel_fd)
            os.close(watch_fd)
        worker = Worker(
            name,
            channel=channel,
            watch=watch,
            shepherd=launched["launched"],
            log=log,
            traced=frozenset(trace),
            tracing=launched["tracing"],
            limits=limits,
        )
        try:
            worker.begin()
        except BaseException:
            worker.close()
            raise
        with self._lock:
            kept = {w.shepherd: w for w in self._workers.values() if not w.closed}
            self._workers = {**kept, worker.shepherd: worker}
        return worker

    def leaks(self, workers: Iterable[Worker] | None = None) -> tuple[Leak, ...]:
        """Return the processes alive below the given workers, or below all of this host.

        Called at the end of a trial, when every worker should have ended: what is still there is a
        leak, a worker itself included.
        """
        host = self._process.pid
        if host is None:
            return ()
        with self._lock:
            names = {shepherd: worker.name for shepherd, worker in self._workers.items()}
        chosen = None if workers is None else {worker.shepherd for worker in workers}
        return leaks.below(host, names, chosen)

    def interrupt(self) -> None:
        """End every process of this host, while other threads may be at its workers.

        Their handles, which are not thread-safe, are left to these threads: each sees its worker
        gone. `close` gives back what they leave.
        """
        with self._lock:
            workers = list(self._workers.values())
        self._process.close([pid for worker in workers for pid in (worker.shepherd, worker.pid)])

    def close(self) -> None:
        """End every process of this host. Harmless when repeated."""
        with self._lock:
            workers, self._workers = list(self._workers.values()), {}
        for worker in workers:
            worker.close()
        self._process.close([pid for worker in workers for pid in (worker.shepherd, worker.pid)])


def _usable(name: str, ready: Mapping[str, Any]) -> Mapping[str, Any]:
    if ready["failed"]:
        what = "; ".join(f"{module}: {error}" for module, error in ready["failed"].items())
        raise RefusedError(f"environment {name!r} cannot import {what}; build it again")
    return ready


def _check_launch(entry: str, trace: Sequence[str]) -> None:
    module, _, function = entry.partition(":")
    if not module or not function:
        raise UsageError(f"entry {entry!r} is not of the form 'package.module:function'")
    for family in trace:
        if family not in FAMILIES:
            known = ", ".join(FAMILIES)
            raise UsageError(f"traceable={family!r} is no syscall family; choose from: {known}")
