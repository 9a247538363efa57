"""What cannot be played without a network, found out before the first trial.

An environment of chromadb is built once and stays. What a trial installs is in uv's cache, if it
was installed here before; what pip installs, it asks the index for every time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import palace_store
from palace_lab.environments.private import build_library
from palace_lab.environments.proxy import provide_proxy
from palace_lab.errors import RefusedError
from palace_lab.plan import steps
from palace_lab.plan.model import Plan
from palace_lab.runner.arena import Arena
from palace_lab.runner.servers import TARGETS


def forbid_network() -> None:
    """Keep uv, for this process and what it starts, to what it has."""
    os.environ["UV_OFFLINE"] = "1"


class Offline:
    """Tells which plans need a network; what they share is made here, for the trials to find."""

    def __init__(self, arena: Arena, python: Path) -> None:
        self._arena, self._python = arena, python
        self._reasons: dict[str, str] = {}

    def why_not(self, plan: Plan) -> str:
        """Return why a plan cannot be played without a network, "" if it can."""
        if any(isinstance(step, steps.Upgrade) and step.by == "pip" for step in plan.steps):
            return "pip asks an index for what it installs"
        described = [plan.process(name) for name in plan.process_names()]
        servers = [each for each in described if (each.target or plan.target) in TARGETS]
        if servers and (reason := self._library()):
            return reason
        proxied = any(each.options.get("transport") == "proxy" for each in servers)
        return self._proxy() if proxied else ""

    def _library(self) -> str:
        if "library" not in self._reasons:
            into = self._arena.scratch / "library"
            into.mkdir(exist_ok=True)
            self._reasons["library"] = _refused(
                lambda: build_library(palace_store.__version__, into)
            )
        return self._reasons["library"]

    def _proxy(self) -> str:
        if "proxy" not in self._reasons:
            into = self._arena.scratch / "proxy"
            self._reasons["proxy"] = _refused(lambda: provide_proxy(self._python, into))
        return self._reasons["proxy"]


def _refused(make: Callable[[], object]) -> str:
    try:
        make()
    except RefusedError as error:
        return str(error)
    return ""
