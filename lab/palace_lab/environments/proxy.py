"""mcp-proxy, which serves a stdio server over HTTP: in an environment of its own, made from a lock.

It speaks through a release of the MCP SDK that the lab and the library cannot share with it.
"""

from __future__ import annotations

from pathlib import Path

from palace_lab.environments import catalog
from palace_lab.environments.interpreters import find_uv
from palace_lab.provision.uvtool import silent

NAME = "mcp-proxy"
_SECONDS_MAX = 600.0


def provide_proxy(base: Path, directory: Path) -> Path:
    """Make the environment in a directory where it is not there yet; returns the program's path.

    `base` is the interpreter it is made with. Raises `RefusedError` if it cannot be installed.
    """
    python, program = directory / "bin" / "python", directory / "bin" / NAME
    if not program.is_file():
        _uv(
            "venv", "--no-project", "--clear", "--python", str(base), str(directory), into=directory
        )
        lock = str(catalog.LOCKS / f"{NAME}.txt")
        words = ("pip", "install", "--no-deps", "--python", str(python), "-r", lock)
        _uv(*words, into=directory)
    return program


def _uv(*words: str, into: Path) -> None:
    find_uv().run(
        [*words],
        doing=f"making the environment of {NAME}",
        into=into,
        seconds_max=_SECONDS_MAX,
        progress=silent,
    )
