"""Making locks: the full resolution of a release, for every Python and processor at once.

Rules. A lock names versions only: no hash, no index, no path, so that it serves any mirror.
Making a lock again keeps the versions it has wherever they still fit, so the same command gives
the same bytes; `upgrade` takes the newest instead. A lock that would need a compiler anywhere
within its bounds is refused.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from packaging.specifiers import SpecifierSet

from palace_lab.environments import catalog, proxy
from palace_lab.environments.interpreters import find_uv
from palace_lab.errors import RefusedError, UsageError
from palace_lab.provision.uvtool import Progress, refuse_os_error, silent

#: The name of the lock of the lab itself, which the bootstrap installs from.
LAB = "lab"

LAB_BOUND = ">=3.10,<3.14"
PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28")
RESOLVE_SECONDS_MAX = 600.0

#: What an editable install of this project is built with; pinned, so that it needs no network.
_BUILD_REQUIREMENTS = ("hatchling>=1.25", "editables>=0.5")

COMPILE = "uv pip compile --universal --python-version 3.10 --only-binary :all:"
PLAIN = "--no-annotate --no-header"


def make_lock(
    name: str,
    *,
    upgrade: bool = False,
    locks: Path = catalog.LOCKS,
    progress: Progress = silent,
) -> Path:
    """Resolve a release, ``lab`` (the lab itself) or ``mcp-proxy``; return the path of its lock.

    Raises `UsageError` for a release the package index does not have, `RefusedError` when it
    cannot be resolved to wheels.
    """
    if name == LAB:
        title, bound, target = "the lab", LAB_BOUND, locks / "lab.txt"
        inputs: tuple[str, ...] = _BUILD_REQUIREMENTS
        sources = [str(_project_file()), "--extra", "dev"]
        shown = f"{COMPILE} --extra dev pyproject.toml requirements.in"
    elif name == proxy.NAME:
        title, bound, target = name, LAB_BOUND, locks / f"{name}.txt"
        inputs, sources = (name,), []
        shown = f"{COMPILE} requirements.in"
    else:
        release = str(catalog.parse_release(name))
        title, bound = f"chromadb {release}", catalog.python_bound(release)
        target = locks / f"chroma-{release}.txt"
        inputs, sources = catalog.requirements(release), []
        shown = f"{COMPILE} requirements.in"
    with tempfile.TemporaryDirectory(prefix="palace-lab-lock-") as scratch:
        written = Path(scratch) / "requirements.in"
        written.write_text("\n".join(inputs) + "\n", encoding="utf-8")
        resolved = Path(scratch) / "resolved.txt"
        if target.exists() and not upgrade:
            shutil.copyfile(target, resolved)
        _resolve([*sources, str(written)], resolved, title, progress)
        header = _header(title, bound, name, f"{shown} {PLAIN}", inputs)
        content = header + _without_comments(resolved.read_text(encoding="utf-8"))
        finished = Path(scratch) / target.name
        finished.write_text(content, encoding="utf-8")
        check_wheels(finished, bound, title=title, progress=progress)
    try:
        target.write_text(content, encoding="utf-8")
    except OSError as error:
        raise refuse_os_error(error, target) from error
    return target


def check_wheels(
    lock: Path,
    bound: str,
    *,
    title: str,
    platforms: tuple[str, ...] = PLATFORMS,
    progress: Progress = silent,
) -> None:
    """Ask uv whether a lock installs from wheels alone on every Python in its bound.

    Nothing is installed. Raises `RefusedError` naming the package that has no wheel.
    """
    uv = find_uv()
    with tempfile.TemporaryDirectory(prefix="palace-lab-wheels-") as scratch:
        for minor in minors(bound):
            progress(f"{title}: looking for wheels on Python {minor}")
            for platform in platforms:
                uv.run(
                    [
                        *("pip", "install", "--dry-run", "--no-deps", "--only-binary", ":all:"),
                        *("--python", sys.executable, "--target", scratch, "-r", str(lock)),
                        *("--python-version", minor, "--python-platform", platform),
                    ],
                    doing=f"{title}: looking for wheels on Python {minor}, {platform}",
                    into=Path(scratch),
                    seconds_max=RESOLVE_SECONDS_MAX,
                    progress=silent,
                )


def minors(bound: str) -> Iterator[str]:
    """Return every minor version of Python inside a bound, such as ``3.10`` and ``3.11``."""
    specifiers = SpecifierSet(bound)
    return (f"3.{minor}" for minor in range(10, 40) if specifiers.contains(f"3.{minor}.0"))


def _resolve(sources: list[str], resolved: Path, title: str, progress: Progress) -> None:
    progress(f"{title}: resolving")
    try:
        find_uv().run(
            [
                *(*COMPILE.split()[1:], *PLAIN.split(), "--no-python-downloads"),
                *("--python", sys.executable, "--output-file", str(resolved), *sources),
            ],
            doing=f"{title}: resolving",
            into=resolved.parent,
            seconds_max=RESOLVE_SECONDS_MAX,
            progress=progress,
        )
    except RefusedError as error:
        missing = re.search(r"there is no version of chromadb==([\w.]+)", str(error))
        if missing is None:
            raise
        wanted = catalog.parse_release(missing.group(1))
        nearest = ", ".join(catalog.nearest(wanted, catalog.known_releases()))
        raise UsageError(
            f"the package index has no chromadb {wanted}; nearest releases with a lock: {nearest}"
        ) from error


def _header(title: str, bound: str, name: str, command: str, inputs: tuple[str, ...]) -> str:
    return "\n".join(
        (
            f"# Everything that {title} needs, on Python {bound}; Linux on x86-64 and aarch64.",
            f"# Made by: palace-lab envs lock {name}",
            f"# which runs: {command}",
            f"# with requirements.in: {' '.join(inputs)}",
            "",
        )
    )


def _without_comments(text: str) -> str:
    return "".join(line + "\n" for line in text.splitlines() if not line.startswith("#"))


def _project_file() -> Path:
    project = Path(__file__).parents[3] / "pyproject.toml"
    if not project.is_file():
        raise UsageError(
            "the lock of the lab is made from its pyproject.toml, which is only in a checkout; "
            "run this from an editable install of one"
        )
    return project
