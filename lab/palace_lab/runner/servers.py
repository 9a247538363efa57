"""The servers of a trial: each has an environment of its own, which a step may upgrade under it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import palace_store
from palace_lab.environments.private import LIBRARY, Installer, PrivateEnvironment
from palace_lab.environments.proxy import provide_proxy
from palace_lab.errors import LabError
from palace_lab.plan import steps
from palace_lab.plan.model import Plan
from palace_lab.runner.arena import Arena

TARGET = "mcp"
#: Every target that has a server.
TARGETS = frozenset({TARGET, "mcp_cut"})
#: Where they are in the directory of a trial.
ENVIRONMENTS = "environments"
#: Trials run in threads and share what is built of the library.
_building = threading.Lock()


class Servers:
    """The private environments of one trial, by the process that talks to the server in it."""

    def __init__(self, arena: Arena, plan: Plan, directory: Path) -> None:
        self._arena = arena
        self._plan = plan
        self._directory = directory
        self._made: dict[str, PrivateEnvironment] = {}

    def options(self, name: str) -> dict[str, Any]:
        """Return the options of a process, with the interpreter of its server if it has one."""
        process = self._plan.process(name)
        options = dict(process.options)
        if self._plan.target_of(name) in TARGETS:
            release = process.release or self._plan.release
            options["python"] = str(self._environment(name, release, options).python)
            options["upgrades"] = str(self._upgrades(name))
            if options.get("transport") == "proxy":
                base = self._arena.environment(release).python
                with _building:
                    options["proxy"] = str(provide_proxy(base, self._arena.scratch / "proxy"))
        return options

    def upgrade(self, step: steps.Upgrade, fault: Callable[[str, str], None]) -> str:
        """Replace what is installed under a server; returns in words what was reached."""
        environment = self._made.get(step.process)
        if environment is None:
            raise LabError(
                f"{step.process} has no environment to upgrade: give it the target {TARGET!r}, and "
                "something to do before"
            )
        found = environment.installed()
        chromadb, library = step.chromadb or self._plan.release, step.library or found[LIBRARY]
        said = f"{step.process} to chromadb {chromadb} and {LIBRARY} {library} by {step.by}"
        fault("upgrade", said)
        with _building:
            environment.upgrade(chromadb, library, step.by)
        with self._upgrades(step.process).open("a") as told:
            told.write(f"{said}\n")
        fault("upgraded", said)
        return f"upgraded {said}"

    def _upgrades(self, name: str) -> Path:
        """Return the file in which a process finds a line for each upgrade that is through."""
        return self._directory / ENVIRONMENTS / f"{name}.upgrades"

    def _environment(self, name: str, release: str, options: dict[str, Any]) -> PrivateEnvironment:
        if name not in self._made:
            made = PrivateEnvironment(
                self._directory / ENVIRONMENTS / name,
                self._arena.environment(release).python,
                self._installer(name),
                self._arena.scratch / "library",
            )
            made.directory.parent.mkdir(exist_ok=True)
            made.wheels.mkdir(exist_ok=True)
            with _building:
                made.make(release, str(options.pop("library", palace_store.__version__)))
            self._made[name] = made
        return self._made[name]

    def _installer(self, name: str) -> Installer:
        """Return the installer that upgrades a server: its environment has to be made for it."""
        used = [
            s.by for s in self._plan.steps if isinstance(s, steps.Upgrade) and s.process == name
        ]
        return used[0] if used else "uv"
