"""What a reproduction was made with: the lab's own state, and every interpreter that took part."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from palace_lab import __version__
from palace_lab.environments import Environment

_TIMEOUT_S = 60.0
_SQLITE = "import sqlite3; print(sqlite3.sqlite_version)"


def lab_words(clone: Path) -> str:
    """Return the lab's version, and its commit where it is a checkout."""
    version = f"palace-lab {__version__}"
    # A checkout in a folder of somebody else's repository is no checkout of the lab.
    if not (clone / ".git").exists():
        return f"{version}, not run from a checkout"
    commit = _output(["git", "-C", str(clone), "rev-parse", "--short=12", "HEAD"])
    if not commit:
        return f"{version}, commit unknown"
    changed = _output(["git", "-C", str(clone), "status", "--porcelain", "--untracked-files=no"])
    return f"{version}, commit {commit}{' with changes of its own' if changed else ''}"


def environment_words(environments: Iterable[Environment], *, used: bool = True) -> list[str]:
    """Return for each environment its chromadb, Python and the SQLite of that Python.

    `used`: chromadb has a part in what was reproduced; else it is only what else was installed.
    """
    found = []
    for each in environments:
        sqlite = _output([str(each.python), "-c", _SQLITE]) or "unknown"
        python = f"Python {each.python_version}"
        found.append(
            f"chromadb {each.release} on {python}, whose sqlite3 module has SQLite {sqlite}"
            f"{_beside(each)}"
            if used
            else f"SQLite {sqlite}, as the sqlite3 module of {python} has it; no chromadb"
        )
    return found


def _beside(environment: Environment) -> str:
    beside = environment.beside
    return f"; beside it {', '.join(beside.lines)}" if beside else ""


def _output(command: list[str]) -> str:
    """Return what a program prints, or "" where it is missing, fails or does not end."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
