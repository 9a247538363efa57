"""Who has files of a palace open: living processes by pid and program.

Rules. Files are compared by device and inode, so that a palace mounted elsewhere is the same one.
Processes of other users cannot be looked at without the right to: they are counted, not guessed.
The answer is true for a moment only.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it is published without type information


@dataclass(frozen=True)
class Holder:
    """A process that has files of the palace open; `files` are paths below the palace."""

    pid: int
    program: str
    stopped: bool
    files: tuple[str, ...]


@dataclass(frozen=True)
class Holders:
    """Everybody found, and how many processes could not be looked at for want of permission."""

    processes: tuple[Holder, ...] = ()
    not_looked_at: int = 0


def find_holders(palace: Path) -> Holders:
    """Return the other processes that have any regular file of the palace open."""
    files = _files(palace)
    found, unseen = [], 0
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            names = _open_in(process.pid, files)
        except PermissionError:
            unseen += _has_program(process)
            continue
        except OSError:
            continue  # it has ended since
        if names:
            found.append(Holder(process.pid, *_described(process), tuple(sorted(names))))
    return Holders(tuple(found), unseen)


def _files(palace: Path) -> dict[tuple[int, int], str]:
    files = {}
    for directory, _, names in os.walk(palace):
        for name in names:
            path = Path(directory, name)
            try:
                status = path.stat()
            except OSError:
                continue
            files[status.st_dev, status.st_ino] = str(path.relative_to(palace))
    return files


def _open_in(pid: int, files: dict[tuple[int, int], str]) -> set[str]:
    names = set()
    for entry in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208 - names are all there is
        try:
            status = os.stat(f"/proc/{pid}/fd/{entry}")  # noqa: PTH116 - the link's target
        except FileNotFoundError:
            continue
        name = files.get((status.st_dev, status.st_ino))
        if name is not None:
            names.add(name)
    return names


def _has_program(process: psutil.Process) -> bool:
    """Tell whether it is a program at all: the kernel's own threads hold no files."""
    try:
        return bool(process.cmdline())
    except psutil.Error:
        return False


def _described(process: psutil.Process) -> tuple[str, bool]:
    try:
        return process.name(), process.status() in (psutil.STATUS_STOPPED, "tracing-stop")
    except psutil.Error:
        return "a process that has ended since", False
