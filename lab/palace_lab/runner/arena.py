"""What the trials of one run share: environments, one fork-server host for each, scratch space.

Rules: hosts are started from the main thread before any trial (their death follows that thread);
trials run in threads and fork their workers through the hosts. Nothing outlives the arena.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import final

from palace_lab.called import called
from palace_lab.environments import Environment
from palace_lab.environments.beside import VARIABLE, targets_folder
from palace_lab.errors import RefusedError
from palace_lab.plan.model import OWN
from palace_lab.processes.roots import make_import_root
from palace_lab.processes.scratch import ScratchDirectory
from palace_lab.processes.supervise import Host

#: Modules that the first client or the first flush would import, release by release; one that a
#: release does not have is passed over. They are most of the price of a fresh process.
PRELOAD = (
    "chromadb",
    "chromadb.api.client",
    "chromadb.api.segment",
    "chromadb.api.rust",
    "chromadb.db.impl.sqlite",
    "chromadb.segment.impl.manager.local",
    "chromadb.segment.impl.metadata.sqlite",
    "chromadb.segment.impl.vector.local_persistent_hnsw",
    "chromadb.quota.simple_quota_enforcer",
    "chromadb.rate_limit.simple_rate_limit",
    "chromadb.execution.executor.local",
    "chromadb.telemetry.product.posthog",
    "chromadb_rust_bindings",
    "hnswlib",
    "numpy",
    "palace_store.drawers",
    "palace_store.triples",
    "palace_store.local",
    "palace_store.sync",
    "palace_store.anatomy",
    "palace_lab.targets.worker",
    *(
        f"palace_lab.targets.{name}"
        for name in ("anatomy", "chroma", "memories", "mixed", "texts", "timed", "vectors")
    ),
)
#: What processes by the lab's own interpreter would import.
PRELOAD_OWN = (
    "palace_lab.targets.worker",
    "palace_lab.targets.remote",
    "palace_lab.targets.triples",
)


@final
class Arena:
    """Hosts by release, and a place for the trials.

    With `forking` false every process comes from an interpreter of its own, as a lab without a
    fork server would have it: for comparison (benchmarks/faults.py), and in the main thread only.
    """

    def __init__(
        self,
        environments: Iterable[Environment],
        *,
        scratch_root: Path | None,
        forking: bool = True,
    ) -> None:
        self._environments = {item.release: item for item in environments}
        self._pythons = {name: each.python for name, each in self._environments.items()}
        self._pythons[OWN] = Path(sys.executable)
        self._forking = forking
        self._scratch_root = scratch_root
        self._stack = ExitStack()
        self._hosts: dict[str, Host] = {}
        self.scratch = Path()
        self._import_root = Path()

    def __enter__(self) -> Arena:
        with ExitStack() as stack:
            directory = stack.enter_context(ScratchDirectory(self._scratch_root))
            self.scratch = directory.path
            self._import_root = make_import_root(self.scratch / "import")
            for release in self._pythons if self._forking else ():
                self._hosts[release] = stack.enter_context(self._new_host(release))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, tb)

    def host(self, release: str) -> Host:
        """Return the host of a release; raises `RefusedError` for one this run has not built."""
        if release not in self._pythons:
            raise RefusedError(
                f"this run has no environment for chromadb {release}; "
                f"build it with: {called()} envs build {release}"
            )
        if self._forking:
            return self._hosts[release]
        host = self._stack.enter_context(self._new_host(release))
        self._hosts[f"{release}, number {len(self._hosts)}"] = host
        return host

    def _new_host(self, release: str) -> Host:
        home = self.scratch / f"home-{release}"
        home.mkdir(exist_ok=True)
        environ = {"HOME": str(home), "ANONYMIZED_TELEMETRY": "False"}
        if folder := targets_folder():
            environ[VARIABLE] = str(folder)
        return Host(
            self._pythons[release],
            self._import_root,
            self.scratch,
            name=release,
            preload=PRELOAD_OWN if release == OWN else PRELOAD,
            environ=environ,
        )

    def interrupt(self) -> None:
        """End every process at once: trials under way then end with an error of their own."""
        for host in self._hosts.values():
            host.interrupt()

    def leaks(self) -> list[str]:
        """Return processes that trials left behind, in words."""
        return [
            f"process {leak.pid} of {leak.worker} ({leak.command}) outlived its trial"
            for host in self._hosts.values()
            for leak in host.leaks()
        ]

    def environment(self, release: str) -> Environment:
        """Return the environment behind a host."""
        return self._environments[release]

    def trial_directory(self) -> Path:
        """Make a new, empty directory for one trial."""
        path = self.scratch / f"trial-{secrets.token_hex(6)}"
        path.mkdir()
        return path
