"""Running every check of this folder on the evidence of one trial."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache

from palace_lab import checks
from palace_lab.checks.evidence import Evidence, Violation

Check = Callable[[Evidence], list[Violation]]


@cache
def all_checks() -> dict[str, Check]:
    """Return the checks by name: every module of the folder that has a function `check`."""
    found = {}
    for module in pkgutil.iter_modules(checks.__path__):
        check = getattr(importlib.import_module(f"{checks.__name__}.{module.name}"), "check", None)
        if check is not None:
            found[module.name] = check
    return found


def run_checks(evidence: Evidence) -> list[Violation]:
    """Return what all checks have to say."""
    return [violation for check in all_checks().values() for violation in check(evidence)]
