"""Finding a Python for a release: the lab's own, another one installed, or one uv downloads.

In that order, because the lab's own costs nothing and starts its workers fastest. Interpreters
of pyenv are found although its shims hide all but the active version. Every step is bounded.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import Version
from uv import find_uv_bin

from palace_lab.errors import RefusedError
from palace_lab.provision.indexes import uv_environment
from palace_lab.provision.uvtool import (
    Progress,
    Uv,
    nearest_directory,
    silent,
)

DOWNLOAD_SECONDS_MAX = 300.0
LOOK_SECONDS_MAX = 60.0

_ASK = "import platform; print(platform.python_version(), platform.machine())"


@dataclass(frozen=True)
class Interpreter:
    """A Python that can carry an environment."""

    path: Path
    version: str
    machine: str

    @property
    def minor(self) -> str:
        """Return major and minor version, such as ``3.11``."""
        return ".".join(self.version.split(".")[:2])


def find_uv() -> Uv:
    """Return the uv that was installed with the lab. Raises `RefusedError` when it is gone."""
    try:
        binary = Path(find_uv_bin())
    except FileNotFoundError as error:
        raise RefusedError(
            f"uv, which builds the environments, is not where it was installed ({error}); "
            "install the lab again"
        ) from error
    return Uv(binary, uv_environment(os.environ))


def find_interpreter(
    bound: str, *, wanted_by: str, progress: Progress, offline: bool = False
) -> Interpreter:
    """Return an interpreter within the bound, downloading one when none is installed.

    Raises `RefusedError`, naming who wanted it and the bound, when there is none to be had.
    """
    own = own_interpreter()
    if own is not None and SpecifierSet(bound).contains(own.version, prereleases=True):
        return own
    uv = find_uv()
    installed = find_installed(uv, bound)
    if installed is not None:
        return installed
    remedy = f"install a Python {newest_minor(bound)} (apt, pyenv or `uv python install`)"
    if offline:
        raise RefusedError(
            f"{wanted_by} needs Python {bound}, none is installed, and the network is switched "
            f"off; {remedy}, then try again"
        )
    progress(f"{wanted_by}: no Python {bound} is installed, downloading {newest_minor(bound)}")
    try:
        uv.run(
            ["python", "install", newest_minor(bound)],
            doing=f"{wanted_by}: downloading Python {newest_minor(bound)}",
            into=Path.home(),
            seconds_max=DOWNLOAD_SECONDS_MAX,
            progress=progress,
        )
    except RefusedError as error:
        raise RefusedError(
            f"{wanted_by} needs Python {bound}, and none is installed; {remedy}, then try again "
            f"(the download failed: {error})"
        ) from error
    downloaded = find_installed(uv, bound)
    if downloaded is None:
        raise RefusedError(
            f"{wanted_by} needs Python {bound}; uv downloaded one but does not find it; {remedy}"
        )
    return downloaded


def own_interpreter() -> Interpreter | None:
    """Return the interpreter the lab runs on, or None when it is not CPython."""
    if sys.implementation.name != "cpython" or not sys.executable:
        return None
    return Interpreter(Path(sys.executable), platform.python_version(), platform.machine())


def find_installed(uv: Uv, bound: str) -> Interpreter | None:
    """Return an installed interpreter within the bound, as uv discovers it, or None."""
    searching = replace(uv, environment=_with_hidden_pythons(uv.environment))
    arguments = ["python", "find", "--system", "--no-project", "--no-python-downloads", bound]
    try:
        found = searching.run(
            arguments,
            doing=f"looking for Python {bound}",
            into=Path("/"),
            seconds_max=LOOK_SECONDS_MAX,
            progress=silent,
        )
    except RefusedError:
        # uv says "no interpreter found" by failing; whatever else it was, none was found.
        return None
    interpreter = _ask(Path(found.strip()))
    if interpreter is None or not SpecifierSet(bound).contains(interpreter.version):
        return None
    return interpreter


def newest_minor(bound: str) -> str:
    """Return the newest minor version inside a bound such as ``>=3.10,<3.13``."""
    specifiers = SpecifierSet(bound)
    minors = [f"3.{minor}" for minor in range(10, 40) if specifiers.contains(f"3.{minor}.0")]
    return minors[-1]


def _ask(path: Path) -> Interpreter | None:
    try:
        answer = subprocess.run(
            [str(path), "-I", "-c", _ASK],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            timeout=LOOK_SECONDS_MAX,
            cwd=nearest_directory(path.parent),
        ).stdout.split()
        version, machine = answer
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return Interpreter(path, version, machine)


def _with_hidden_pythons(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with pyenv's versions on PATH, newest first, and not its shims."""
    root = Path(environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    # Names that are no version are virtual environments, which come and go.
    numbered = [p for p in root.glob("versions/*") if re.fullmatch(r"\d+\.\d+\.\d+", p.name)]
    numbered.sort(key=lambda directory: Version(directory.name), reverse=True)
    path = [word for word in environ.get("PATH", os.defpath).split(os.pathsep) if word]
    visible = [word for word in path if not word.rstrip("/").endswith("/shims")]
    hidden = [str(directory / "bin") for directory in numbered]
    return {**environ, "PATH": os.pathsep.join([*hidden, *visible])}
