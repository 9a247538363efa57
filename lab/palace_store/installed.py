"""S0: what is installed now, beside what this process imported.

A server lives for days, and its environment is upgraded underneath it. It cannot see that in
anything it has imported, so it looks at the disk, at each call:

* the version: in the name of the package's `dist-info`, or, where code is used from its source
  (an editable install), in the `__version__` of the file that a new process would import;
* the code under one version number: by the hashes in `RECORD`, or of the source itself. Files are
  read again only when their size, times or inode have changed;
* an installer at work: the package is missing for a while, or present twice. Then nobody can say
  what a new process would run.

What is watched is looked at before it is imported: then what was there is what runs, whatever the
code says of itself (a local build installed as 1.5.9+local1 says 1.5.9), and what is replaced
while it is imported is seen as well.

Nothing is cached that could be out of date: a time younger than 2 s is not trusted, since a file
may change twice within one tick of its clock.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

_TICK_NS = 2_000_000_000  # a time stamp's resolution on the coarsest file system in use (FAT)
_INFO = ".dist-info"
_VERSION = re.compile(r"^__version__\s*(?::[^=]*)?=\s*[\"']([^\"']+)[\"']", re.MULTILINE)

Key = tuple[tuple[str, int, int, int, int], ...]


@dataclass(frozen=True)
class Package:
    """A package this process imports; `source` says that its own files are compared too."""

    name: str
    running: str  # the version that the imported code says; "" before it is imported
    place: Path  # the folder of its code
    source: bool = False


@dataclass(frozen=True)
class Look:
    """What one look at a package found."""

    name: str
    running: str
    installed: str  # the version a new process would import; "" where that cannot be said
    trouble: str = ""  # why it cannot be said
    changed: bool = False  # other code than was imported, whatever its version says

    @property
    def stale(self) -> bool:
        """Tell whether a new process would run something else, or nothing at all."""
        return bool(self.trouble) or self.changed or self.installed != self.running

    def words(self) -> str:
        """Return what is installed now, in words."""
        if self.trouble:
            return f"{self.name} {self.trouble}"
        other = ", with other code" if self.changed and self.installed == self.running else ""
        return f"{self.name} {self.installed}{other}"


@final
class Watched:
    """A package and what of it was installed when this was made: at the start of the process."""

    def __init__(self, package: Package) -> None:
        self.package = package
        self._running = package.running  # as it was installed, if that is known
        self._digests: dict[str, tuple[Key, str]] = {}
        try:
            found = self._found()
            self._packaged = bool(found)
            self._started_with = self._code(found)
            told = self._told()
            if len(found) <= 1 and told in {"", package.running or told}:
                self._running = next(iter(found), "") or told  # it runs what is there
        except OSError:  # an installer was at work when we started
            self._packaged, self._started_with = True, ""

    def imported(self, version: str) -> None:
        """Tell which version the code says that was imported, should nothing else say it."""
        self._running = self._running or version

    def look(self) -> Look:
        """Look at the disk; never raises."""
        package = self.package
        try:
            found = self._found()
            if len(found) > 1:
                return self._troubled(f"is installed twice ({', '.join(sorted(found))})")
            if not (package.place / "__init__.py").is_file() or (self._packaged and not found):
                return self._troubled("is missing")
            installed = next(iter(found), "") or self._told() or self._running
            changed = self._code(found) != self._started_with
        except OSError as error:
            return self._troubled(f"cannot be read ({error.strerror or error})")
        return Look(package.name, self._running, installed, changed=changed)

    def _troubled(self, trouble: str) -> Look:
        return Look(self.package.name, self._running, "", trouble)

    def _found(self) -> dict[str, str]:
        """Return the versions of this package that are beside its code, each with its folder."""
        found = {}
        wanted = _normal(self.package.name)
        for name in os.listdir(self.package.place.parent):  # noqa: PTH208  (names are all we want)
            if not name.endswith(_INFO) or name[0].lower() != wanted[0]:
                continue  # nearly all of them: this is done at every call
            project, dash, version = name.removesuffix(_INFO).rpartition("-")
            if dash and _normal(project) == wanted:
                found[version] = name
        return found

    def _told(self) -> str:
        """Return the version that the code says of itself, "" if it does not."""
        text = (self.package.place / "__init__.py").read_text(encoding="utf-8", errors="replace")
        match = _VERSION.search(text)
        return match[1] if match else ""

    def _code(self, found: Mapping[str, str]) -> str:
        """Return a digest of the code a new process would import."""
        site = self.package.place.parent
        records = [f"{site}/{name}/RECORD" for name in found.values()]
        listed = [path for path in records if os.path.isfile(path)]  # noqa: PTH113  (as below)
        parts = [self._digest("record", listed, self._record)]
        if self.package.source or not listed:
            parts.append(self._digest("source", _sources(self.package.place), _read))
        return " ".join(parts)

    def _record(self, path: str) -> bytes:
        """Return of a `RECORD` what it says of the code; who installed it makes no difference."""
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        ours = f"{self.package.place.name}/"
        return "\n".join(
            sorted(x for x in lines if x.startswith(ours) and ".pyc," not in x)
        ).encode()

    def _digest(self, what: str, paths: list[str], read: Callable[[str], bytes]) -> str:
        key = tuple(map(_key, paths))
        known = self._digests.get(what)
        newest = max((max(mtime, ctime) for _, _, mtime, ctime, _ in key), default=0)
        if known is not None and known[0] == key and time.time_ns() - newest > _TICK_NS:
            return known[1]
        total = hashlib.sha256()
        for path in paths:
            total.update(hashlib.sha256(os.fsencode(path)).digest())
            total.update(hashlib.sha256(read(path)).digest())
        self._digests[what] = key, total.hexdigest()
        return total.hexdigest()


def watch(name: str, *, source: bool = False) -> Watched:
    """Watch a package that is about to be imported; raises `ModuleNotFoundError` if there is none.

    One that has been imported already must be as its code says.
    """
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"there is no package {name}", name=name)
    running = str(getattr(sys.modules.get(name), "__version__", ""))
    return Watched(Package(name, running, Path(found.origin).parent, source=source))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def _read(path: str) -> bytes:
    return Path(path).read_bytes()


def _key(path: str) -> tuple[str, int, int, int, int]:
    found = os.stat(path)  # noqa: PTH116  (a Path for each file takes longer than the look)
    return path, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _sources(place: Path) -> list[str]:
    """Return the Python files of a package, those of its parts included, as plain paths."""
    found: list[str] = []
    for directory, parts, names in os.walk(place):
        parts[:] = sorted(part for part in parts if part != "__pycache__")
        found += [f"{directory}/{name}" for name in sorted(names) if name.endswith(".py")]
    return found
