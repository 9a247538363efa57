"""An environment of one server, to be changed under it: made from a lock, gone with its trial.

Shared environments are never changed. A private one is a copy by hard links of one that was made
for the run, by uv or pipx: an installer replaces files and does not write into them, so the copies
do not see each other. The library comes as a wheel, built here under the version number asked for.

* What an installer puts there is what the lock of a release names, so an upgrade is the same
  everywhere. pip and pipx are the real ones, in processes of their own; pipx lets uv do its work.
* pipx makes an environment its own way, so a plan that upgrades by pipx begins with pipx.
* A program of an environment names its interpreter by its path, so in a copy it is written anew.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from palace_lab.environments import catalog
from palace_lab.environments.interpreters import find_uv
from palace_lab.errors import LabError, RefusedError
from palace_lab.provision.uvtool import run_installer, silent

Installer = Literal["uv", "pip", "pipx"]

#: The project of the library under test, as an installer knows it.
LIBRARY = "palace-store"
_SECONDS_MAX = 600.0
_SOURCE = re.compile(r'^__version__ = "[^"]+"$', re.MULTILINE)


def build_library(version: str, into: Path) -> Path:
    """Build a wheel of the library under test under a version number; returns its path.

    It is the same code under any number. What was built in that directory is not built again.
    """
    made = into / f"palace_store-{version}"
    if not made.is_dir():
        spec = importlib.util.find_spec("palace_store")
        (place,) = list(spec.submodule_search_locations or ()) if spec else [""]
        if not (Path(place) / "pyproject.toml").is_file():
            raise RefusedError(
                f"{place} has no pyproject.toml: run this from a checkout of the lab"
            )
        source = into / f"source-{version}"
        shutil.copytree(place, source, ignore=shutil.ignore_patterns("__pycache__"))
        init = source / "__init__.py"
        init.write_text(_SOURCE.sub(f'__version__ = "{version}"', init.read_text("utf-8")), "utf-8")
        run_uv(
            "build", "--wheel", "--out-dir", str(made), str(source), doing=f"building {made.name}"
        )
    (wheel,) = made.glob("*.whl")
    return wheel


@dataclass(frozen=True)
class PrivateEnvironment:
    """Where a server's environment is, what it was made with, and by which installer."""

    directory: Path
    base: Path  # the interpreter it is made from
    installer: Installer
    wheels: Path  # where wheels of the library are built

    @property
    def python(self) -> Path:
        """Return the interpreter a server is started with; its programs are beside it."""
        if self.installer == "pipx":
            return self.directory / "venvs" / LIBRARY / "bin" / "python"
        return self.directory / "bin" / "python"

    def make(self, release: str, library: str) -> None:
        """Make it: the lock of a release, and the library under a version number."""
        first = self.wheels / f"{self.installer}-{release}-{library}"
        if not first.is_dir():
            replace(self, directory=first).make_first(release, library)
        shutil.copytree(first, self.directory, symlinks=True, copy_function=os.link)
        for program in {*self.python.parent.iterdir(), *(self.directory / "bin").iterdir()}:
            move_program(program, first, self.directory)

    def make_first(self, release: str, library: str) -> None:
        """Make the one that others are copies of, and start it once, so that it is compiled."""
        wheel = build_library(library, self.wheels)
        if self.installer != "pipx":
            seed = ("--seed",) if self.installer == "pip" else ()
            where = ("--python", str(self.base), str(self.directory))
            run_uv("venv", "--no-project", *seed, *where, doing="making a private environment")
            self._uv_install(release, wheel)
        else:
            self._pipx_install(release, wheel)
        self._start_once()

    def upgrade(self, release: str, library: str, by: Installer) -> None:
        """Replace what is installed, in place; raises `LabError` if it is not there afterwards."""
        wheel = build_library(library, self.wheels)
        if (by == "pipx") != (self.installer == "pipx"):
            raise LabError(
                f"{self.directory} was made by {self.installer}, not to be changed by {by}"
            )
        before = self.installed()
        if by == "uv":
            self._uv_install(release, wheel)
        elif by == "pip":
            words = ("-m", "pip", "install", "-U", *_what(release, wheel))
            _run([str(self.python), *words], "upgrading by pip", self.directory)
        else:
            self._pipx_install(release, wheel)
        if by == "pipx" or before.get("chromadb") != release:  # else little is left to compile
            self._start_once()
        found = self.installed()
        if found != {"chromadb": release, LIBRARY: library}:
            raise LabError(f"{self.directory} has {found}, not chromadb {release} and {library}")

    def installed(self) -> Mapping[str, str]:
        """Return the versions of chromadb and of the library that are installed now."""
        found = {}
        for name in ("chromadb", LIBRARY):
            stem = name.replace("-", "_")
            for info in self.python.parent.parent.glob(f"lib/*/site-packages/{stem}-*.dist-info"):
                found[name] = info.name.removesuffix(".dist-info").rpartition("-")[2]
        return found

    def _start_once(self) -> None:
        """Import everything, so that it is compiled before a process is waited for."""
        words = ("-m", "palace_store.server", "--version")
        _run([str(self.python), *words], "starting a server once", self.directory)

    def _uv_install(self, release: str, wheel: Path) -> None:
        where = ("--python", str(self.python))
        words = ("pip", "install", *where, *_what(release, wheel))
        run_uv(*words, doing="installing by uv")

    def _pipx_install(self, release: str, wheel: Path) -> None:
        words = [sys.executable, "-m", "pipx", "install", "--force", "--backend", "uv"]
        words += ["--python", str(self.base)]
        lock = f"--no-deps -r {catalog.lock_path(release)}"
        _run(
            [*words, f"--pip-args={lock}", str(wheel)],
            "installing by pipx",
            self.directory,
            PIPX_HOME=str(self.directory),
            PIPX_BIN_DIR=str(self.directory / "bin"),
            PIPX_MAN_DIR=str(self.directory / "man"),
        )


def move_program(program: Path, there: Path, here: Path) -> None:
    """Let a program of a copied environment start the interpreter of the copy."""
    if program.is_symlink():
        target = program.readlink()
        if target.is_relative_to(there):
            program.unlink()
            program.symlink_to(here / target.relative_to(there))
        return
    content = program.read_bytes()
    moved = content.replace(os.fsencode(there), os.fsencode(here))
    if moved != content:
        mode = program.stat().st_mode
        program.unlink()  # it is the same file in the environment it was copied from
        program.write_bytes(moved)
        program.chmod(mode)


def _what(release: str, wheel: Path) -> tuple[str, ...]:
    return ("--no-deps", "-r", str(catalog.lock_path(release)), str(wheel))


def run_uv(*words: str, doing: str) -> None:
    """Run uv and say nothing; raises `RefusedError` if it fails."""
    find_uv().run([*words], doing=doing, into=Path.cwd(), seconds_max=_SECONDS_MAX, progress=silent)


def _run(words: list[str], doing: str, into: Path, **variables: str) -> None:
    temporary = into.with_name(f"{into.name}.tmp")  # gone with the run, even if pip is killed
    temporary.mkdir(exist_ok=True)
    environment = {**os.environ, "TMPDIR": str(temporary), **variables}
    for foreign in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE"):
        environment.pop(foreign, None)
    run_installer(
        words,
        environment=environment,
        doing=doing,
        into=into,
        seconds_max=_SECONDS_MAX,
        progress=silent,
    )
