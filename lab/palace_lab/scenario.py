"""What a scenario is: a plan with a promise.

A scenario file lies anywhere under `scenarios/`, opens with one sentence (its docstring) and binds
`scenario`. Adding one edits nothing else. Two kinds:

- A **proof** has an `off` arm, the library with the fix in question switched off, that must fail
  with a signature listed in `accepts`; and where a report describes a fix, an `as_reported` arm.
- A **guard** has no `off` arm; it names a deliberately `wrong` variant on which it must fail.

The `fixed` arm must always hold. Releases are chromadb's; "sqlite" stands for a scenario that does
not depend on it and runs once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from palace_lab.checks.signatures import NEVER_ACCEPTED, known
from palace_lab.errors import UsageError
from palace_lab.judge.verdict import Role
from palace_lab.plan import check_plan
from palace_lab.plan.drawn import Drawn
from palace_lab.plan.model import Plan, Process
from palace_store.fixes import Fixes

#: Releases of the quick profile, oldest first.
RELEASES = ("0.6.3", "1.0.21", "1.5.9")
#: The release column of a scenario that does not depend on chromadb.
SQLITE = "sqlite"
SYSTEMS = ("s0", "s1", "s2", "s3", "s4", "hops")


@dataclass(frozen=True)
class Size:
    """What the command line may set for scenarios that scale: processes, triples and drawers each.

    A value of 0 leaves a scenario's own.
    """

    processes: int = 0
    triples: int = 0
    drawers: int = 0


@dataclass(frozen=True)
class Wrong:
    """A deliberately wrong variant: some fixes off, or options that make the target misbehave."""

    what: str
    fixes: Fixes = field(default_factory=Fixes.all)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Arm:
    """One arm of a scenario: the same plan on another form of the library."""

    role: Role
    fixes: Fixes
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A plan with a promise; see the module's docstring.

    `plan` may depend on what the command line says, or be drawn anew for each trial (`Drawn`).
    `accepts` maps a release specifier (">=1.0", "0.6.3", "*") to signatures or families. A race
    declares its `probability` of showing in one trial; None means it shows every time. What is
    `nightly` is left out of a pull request's run; what is not `in_ci`, of `--profile ci` as well.
    What takes `minutes` a trial (about; two x86-64 cores) is neither, and no part of a short night.
    """

    system: str
    reports: tuple[str, ...] = ()
    plan: Plan | Callable[[Size], Plan] | Drawn
    off: Fixes | None = None
    as_reported: Fixes | None = None
    fixed: Fixes = field(default_factory=Fixes.all)
    wrong: Wrong | None = None
    accepts: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    releases: tuple[str, ...] = RELEASES
    probability: float | None = None
    nightly: bool = False
    in_ci: bool = True
    minutes: float = 0.0

    def __post_init__(self) -> None:
        if self.system not in SYSTEMS:
            raise UsageError(f"system {self.system!r} is none of {', '.join(SYSTEMS)}")
        if (self.off is None) == (self.wrong is None):
            raise UsageError("a proof names what is `off`, a guard what is `wrong`: exactly one")
        listed = {name for names in self.accepts.values() for name in _names(names)}
        if unknown := listed - known():
            forbidden = "the lab's own trouble" if unknown & NEVER_ACCEPTED else "no known name"
            raise UsageError(f"accepts lists {sorted(unknown)}, which is {forbidden}")
        if not listed:
            raise UsageError("accepts lists no signature, so nothing could count as reproduced")
        if not (self.in_ci or self.nightly):
            raise UsageError("a scenario that is not in_ci is nightly: nightly=True")
        if self.minutes and self.in_ci:
            raise UsageError("a scenario that takes minutes is not in_ci: in_ci=False")

    @property
    def is_guard(self) -> bool:
        """Tell whether this is a guard."""
        return self.off is None

    def runs_on(self, release: str) -> bool:
        """Tell whether a release has a row: a listed one, or another that lies among these.

        Another has one if it is not older than the oldest listed, and has not reached the quick
        profile's release that follows on the newest listed: that one was left out for a reason.
        """
        if release in RELEASES or SQLITE in self.releases:
            return release in self.releases
        if self.releases == RELEASES:
            return True
        oldest, newest, asked = map(Version, (self.releases[0], self.releases[-1], release))
        later = [each for each in map(Version, RELEASES) if each > newest]
        # A pair that was reported is no bound: what has happened to it may happen to a newer one.
        bounded = later if self.releases[-1] in RELEASES else []
        return oldest <= asked and all(asked < each for each in bounded)

    def arms(self) -> list[Arm]:
        """Return the arms in the order of the table."""
        arms = []
        if self.off is not None:
            arms.append(Arm("off", self.off))
        if self.wrong is not None:
            arms.append(Arm("wrong", self.wrong.fixes, self.wrong.options))
        if self.as_reported is not None:
            arms.append(Arm("as-reported", self.as_reported))
        return [*arms, Arm("fixed", self.fixed)]

    def accepted_on(self, release: str) -> frozenset[str]:
        """Return what the off arm may fail with on a release."""
        found: set[str] = set()
        for specifier, names in self.accepts.items():
            if covers(specifier, release):
                found.update(_names(names))
        return frozenset(found)

    def plan_for(self, arm: Arm, release: str, seed: int, size: Size, name: str) -> Plan:
        """Return the plan of one trial, with nothing left open but recorded crash points.

        Raises `UsageError` for one that makes no sense.
        """
        if isinstance(self.plan, Drawn):
            plan = self.plan.draw(random.Random(seed), release)  # noqa: S311 (a lot, no secret)
        else:
            plan = self.plan(size) if callable(self.plan) else self.plan
        processes = list(plan.processes)
        if arm.options:
            for process in plan.process_names():
                described = plan.process(process)
                processes = [each for each in processes if each.name != process]
                options = {**described.options, **arm.options}
                processes.append(_with_options(described, options))
        made = plan.changed(
            name=name,
            arm=arm.role,
            release=release,
            seed=seed,
            fixes=tuple(arm.fixes.words()),
            processes=tuple(processes),
        )
        return check_plan(made, f"the plan of {name}, arm {arm.role},")


def _with_options(process: Process, options: dict[str, Any]) -> Process:
    return Process(
        process.name, process.target, process.release, process.fixes, process.may_refuse, options
    )


def _names(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def covers(specifier: str, release: str) -> bool:
    """Tell whether a release is one that a specifier names; raises `ValueError` for none."""
    if specifier in ("*", release):
        return True
    if SQLITE in (release, specifier):
        return False
    text = specifier if specifier[:1] in "<>=!~" else f"=={specifier}"
    return SpecifierSet(text).contains(release, prereleases=True)
