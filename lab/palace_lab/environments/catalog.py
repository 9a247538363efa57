"""The catalogue: which releases of chromadb can be put under test, and on which Python.

A release is known when its lock lies in `locks/`, so adding one edits nothing else. The Python
bounds are those of the wheels on the package index, so that no environment needs a compiler:
chroma-hnswlib 0.7.6, which 0.5 and 0.6 need, has wheels up to 3.12; 1.0 and later have stable
ABI wheels of their own, and the lab itself ends before 3.14.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from palace_lab.errors import UsageError

LOCKS = Path(__file__).parent / "locks"

#: One release per format on disk; what a pull request runs.
QUICK_RELEASES = ("0.6.3", "1.0.21", "1.5.9")

#: Python bounds, first match wins.
_BOUNDS = (
    (SpecifierSet("<0.5"), ">=3.10,<3.12"),
    (SpecifierSet("<1"), ">=3.10,<3.13"),
    (SpecifierSet(">=1"), ">=3.10,<3.14"),
)

#: What an old release needs beside its own requirements, which name no upper bound for it.
_HELD_BACK = ((SpecifierSet("<0.5"), ("numpy<2",)),)

_PREFIX = re.compile(r"^(chromadb==|chromadb-|chroma-|v)", re.IGNORECASE)

_NEAREST_MAX = 2


def known_releases() -> tuple[str, ...]:
    """Return the releases that have a lock, oldest first."""
    names = (path.name for path in LOCKS.glob("chroma-*.txt"))
    releases = (name.removeprefix("chroma-").removesuffix(".txt") for name in names)
    return tuple(sorted(releases, key=Version))


def parse_release(text: str) -> Version:
    """Read a release as a person writes it: ``1.5.9``, ``chroma-1.5.9``, ``chromadb==1.5.9``.

    Raises `UsageError` for anything that is no version number.
    """
    try:
        return Version(_PREFIX.sub("", text.strip()))
    except InvalidVersion:
        raise UsageError(
            f"{text!r} is no release of chromadb; write it as a number such as 1.5.9; "
            "`palace-lab envs list` shows all"
        ) from None


def resolve_release(text: str) -> str:
    """Return the known release that the text names.

    Raises `UsageError`, naming the nearest releases that have a lock, when there is none.
    """
    wanted = parse_release(text)
    known = known_releases()
    for release in known:
        if Version(release) == wanted:
            return release
    raise UsageError(
        f"there is no chromadb {wanted} here; nearest releases with a lock: "
        f"{', '.join(nearest(wanted, known))}; `palace-lab envs list` shows all"
    )


def nearest(wanted: Version, known: Iterable[str]) -> list[str]:
    """Return the one or two known releases closest in number, in order of age."""
    closest = sorted(known, key=lambda release: abs(_rank(Version(release)) - _rank(wanted)))
    return sorted(closest[:_NEAREST_MAX], key=Version)


def lock_path(release: str) -> Path:
    """Return where the lock of a release lies, whether or not it is there."""
    return LOCKS / f"chroma-{release}.txt"


def python_bound(release: str) -> str:
    """Return the Python versions a release has wheels for, as a version specifier."""
    version = Version(release)
    for releases, bound in _BOUNDS:
        if releases.contains(version, prereleases=True):
            return bound
    raise UsageError(f"no Python bound is known for chromadb {release}")


def requirements(release: str) -> tuple[str, ...]:
    """Return what the lock of a release resolves: the release, and what the lab's workers need.

    `multiprocess` serves the workers and `dill` carries what crosses to them; `mcp` is what the
    library's memory server and its clients speak.
    """
    version = Version(release)
    held_back = (
        requirement
        for releases, needed in _HELD_BACK
        if releases.contains(version, prereleases=True)
        for requirement in needed
    )
    return (f"chromadb=={release}", "multiprocess", "dill", "mcp>=2", *held_back)


def _rank(version: Version) -> int:
    return (version.major * 1000 + version.minor) * 1000 + version.micro
