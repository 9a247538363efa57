"""The catalogue: which releases of chromadb can be put under test, and on which Python.

A release is known when its lock lies in `locks/`, so adding one edits nothing else. One that the
package index was asked for (`newest`) has its lock beside the environments of this user, where a
note says which release the word stands for until the index is asked again.

The Python bounds are those of the wheels on the package index, so that no environment needs a
compiler: chroma-hnswlib 0.7.6, which 0.5 and 0.6 need, has wheels up to 3.12; 1.0 and later have
stable ABI wheels of their own, and the lab itself ends before 3.14.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import platformdirs
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from palace_lab.called import called
from palace_lab.errors import UsageError

LOCKS = Path(__file__).parent / "locks"

#: What stands for the newest release on the package index, and for a pre-release newer than that.
NEWEST, NEWEST_PRE = "newest", "newest-pre"

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
    return _locked_in(LOCKS)


def asked_releases() -> tuple[str, ...]:
    """Return the releases the index was asked for that have no other lock, oldest first."""
    known = known_releases()
    return tuple(each for each in _locked_in(asked_locks()) if each not in known)


def lab_home(home: Path | None = None) -> Path:
    """Return where the lab keeps what it makes: `home`, PALACE_LAB_HOME or the user's cache."""
    chosen = home or os.environ.get("PALACE_LAB_HOME")
    base = Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("palace-lab")
    return base.absolute()


def asked_locks() -> Path:
    """Return the directory of the locks and notes that come from asking the package index."""
    return lab_home() / "locks"


def parse_release(text: str) -> Version:
    """Read a release as a person writes it: ``1.5.9``, ``chroma-1.5.9``, ``chromadb==1.5.9``.

    Raises `UsageError` for anything that is no version number.
    """
    try:
        return Version(_PREFIX.sub("", text.strip()))
    except InvalidVersion:
        raise UsageError(
            f"{text!r} is no release of chromadb; write it as a number such as 1.5.9; "
            f"`{called()} envs list` shows all"
        ) from None


def resolve_release(text: str) -> str:
    """Return the release with a lock that the text names, be it by ``newest`` or ``newest-pre``.

    Raises `UsageError`, naming the nearest releases that have a lock, when there is none.
    """
    word = newest_word(text)
    wanted = parse_release(_noted(word) if word else text)
    known = (*known_releases(), *asked_releases())
    for release in known:
        if Version(release) == wanted:
            return release
    raise UsageError(
        f"there is no chromadb {wanted} here; nearest releases with a lock: "
        f"{', '.join(nearest(wanted, known))}; `{called()} envs list` shows all"
    )


def newest_word(text: str) -> str:
    """Return ``newest`` or ``newest-pre`` if that is what the text says, else ""."""
    word = _PREFIX.sub("", text.strip()).lower()
    return word if word in (NEWEST, NEWEST_PRE) else ""


def nearest(wanted: Version, known: Iterable[str]) -> list[str]:
    """Return the one or two known releases closest in number, in order of age."""
    closest = sorted(known, key=lambda release: abs(_rank(Version(release)) - _rank(wanted)))
    return sorted(closest[:_NEAREST_MAX], key=Version)


def lock_path(release: str) -> Path:
    """Return where the lock of a release lies, whether or not it is there."""
    name = f"chroma-{release}.txt"
    asked = asked_locks() / name
    return asked if asked.exists() and not (LOCKS / name).exists() else LOCKS / name


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


def _locked_in(directory: Path) -> tuple[str, ...]:
    names = (path.name for path in directory.glob("chroma-*.txt"))
    releases = (name.removeprefix("chroma-").removesuffix(".txt") for name in names)
    return tuple(sorted(releases, key=Version))


def _noted(word: str) -> str:
    note = asked_locks() / word
    try:
        return note.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UsageError(
            f"it is not known here which release is {word}; `{called()} envs lock {word}` asks the "
            "package index and notes it"
        ) from None


def _rank(version: Version) -> int:
    return (version.major * 1000 + version.minor) * 1000 + version.micro
