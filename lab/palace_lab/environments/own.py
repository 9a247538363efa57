"""The environment this process runs in, as one of the lab's: where somebody else has built it.

tox makes an environment of the same lock for each stop of a chain of hops. What is installed in it
is compared with the lock, so that a stop cannot pass for a release that it does not have.
"""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from palace_lab.environments import catalog
from palace_lab.environments.build import Environment
from palace_lab.errors import RefusedError

_SHOWN = 3


def own_environment(release: str) -> Environment:
    """Return the environment of this interpreter; raises `RefusedError` if it is not of the lock.

    `release` is one that `resolve_release` returned.
    """
    wrong = [difference for line in _pinned(release) if (difference := _difference(line))]
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise RefusedError(
            f"{sys.prefix} is no environment of chromadb {release}: {', '.join(wrong[:_SHOWN])}"
            f"{more}; run this in one made from {catalog.lock_path(release).name}, as `tox run "
            f"-e hop-{release}` does"
        )
    version = platform.python_version()
    directory = Path(sys.prefix)
    return Environment(directory.name, release, Path(sys.executable), version, directory, "")


def _pinned(release: str) -> list[Requirement]:
    """Return what the lock names for this interpreter, chromadb itself first."""
    lines = catalog.lock_path(release).read_text(encoding="utf-8").splitlines()
    named = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    meant = [each for each in named if each.marker is None or each.marker.evaluate()]
    return sorted(meant, key=lambda each: each.name != "chromadb")


def _difference(requirement: Requirement) -> str:
    try:
        installed = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"it has no {requirement.name}"
    if requirement.specifier.contains(installed, prereleases=True):
        return ""
    return f"it has {requirement.name} {installed}"
