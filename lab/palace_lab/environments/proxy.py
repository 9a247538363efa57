"""mcp-proxy, which serves a stdio server over HTTP: in an environment of its own, made from a lock.

It speaks through a release of the MCP SDK that the lab and the library cannot share with it.
"""

from __future__ import annotations

from pathlib import Path

from palace_lab.environments import catalog
from palace_lab.environments.private import run_uv

NAME = "mcp-proxy"


def provide_proxy(base: Path, directory: Path) -> Path:
    """Make the environment in a directory where it is not there yet; returns the program's path.

    `base` is the interpreter it is made with. Raises `RefusedError` if it cannot be installed.
    """
    python, program = directory / "bin" / "python", directory / "bin" / NAME
    if not program.is_file():
        doing = f"making the environment of {NAME}"
        venv = ("venv", "--no-project", "--clear", "--python", str(base), str(directory))
        run_uv(*venv, doing=doing)
        lock = str(catalog.LOCKS / f"{NAME}.txt")
        run_uv("pip", "install", "--no-deps", "--python", str(python), "-r", lock, doing=doing)
    return program
