"""The plan: one value that says everything a trial needs, and nothing about this machine.

Rules: a plan names releases, never paths; everything random comes from `seed`; `fixes` is the arm.
The same plan with another `fixes` is another arm of the same experiment.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from palace_lab.plan.steps import Alternate, AnyStep, Check, Together

VERSION = 1
#: As the release of a process: it runs by the lab's own interpreter, without any chromadb.
OWN = "lab"
#: The numbers of a plan's drawers are below this; observers write those from here on.
DRAWERS_END = 9_000_000


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the drawers of the plan's palace are made.

    `sync_threshold` and `batch_size` are chromadb's own settings, in drawers. chromadb's defaults
    are 1000 and 100; small ones bring a flush within reach of a short trial.
    `embedded`: a drawer's vector is what the library's stand-in for a model makes of its text, as
    a server has it, and not drawn by lot.
    """

    dimension: int = 16
    sync_threshold: int = 10
    batch_size: int = 5
    space: str = "cosine"
    embedded: bool = False


class Process(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One process of the plan, where it differs from the usual one.

    `release` "" is the release under test, `OWN` the lab's interpreter; `fixes` None is the arm's;
    `may_refuse` lets our library refuse it (an outdated process, say) without that being held
    against the library.
    """

    name: str
    target: str = ""
    release: str = ""
    fixes: tuple[str, ...] | None = None
    may_refuse: bool = False
    options: dict[str, Any] = {}


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One experiment, ready to be run, stored and sent to somebody else."""

    version: int = VERSION
    name: str = ""
    arm: str = ""
    release: str = ""
    seed: int = 0
    fixes: tuple[str, ...] = ()
    target: str = "palace"
    shape: Shape = Shape()
    time_scale: float = 1.0
    processes: tuple[Process, ...] = ()
    steps: tuple[AnyStep, ...]
    observers: tuple[str, ...] = ("palace", "chroma")
    reach: Literal["all", "any"] = "all"  # which of its faults a trial must have reached

    def process(self, name: str) -> Process:
        """Return the process with this name: as described, else the usual one."""
        for process in self.processes:
            if process.name == name:
                return process
        return Process(name)

    def target_of(self, name: str) -> str:
        """Return the target of the process with this name."""
        return self.process(name).target or self.target

    def process_names(self) -> list[str]:
        """Return every process the steps name, in the order they first appear."""
        return list(dict.fromkeys(name for step in self.steps for name in named_by(step)))

    def releases(self) -> set[str]:
        """Return the releases the plan needs environments for: all that it names."""
        named = {self.process(name).release for name in self.process_names()}
        named |= {process.release for process in self.processes}
        named |= {step.release for step in self.steps if isinstance(step, Check)}
        return {release or self.release for release in named} - {OWN} | {self.release}

    def changed(self, **values: Any) -> Plan:
        """Return a copy with some values replaced."""
        return msgspec.structs.replace(self, **values)


def named_by(step: AnyStep) -> Iterator[str]:
    """Yield the processes a step names."""
    if isinstance(step, Together):
        yield from (call.process for call in step.calls)
    elif isinstance(step, Alternate):
        yield from step.processes
    elif (name := getattr(step, "process", None)) is not None:
        yield name
