"""What this process and everything below it costs the machine: memory, bytes written, and its rank.

Rules:
- Memory is counted in shares (PSS): what forks have in common counts once. Where the kernel does
  not tell, the resident size stands in, which is too much.
- Written is what the kernel has counted as on its way to a disk (`write_bytes` of /proc/PID/io): a
  file that is removed before it got there counts all the same, what stays in memory (tmpfs) does
  not. A process that has ended is in the count of who waited for it, so nothing is forgotten.
- A file system and a card write more than what is handed to them; nobody can see that from here.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it is published without type information

#: The rank a long run takes beside whatever else the machine is for.
NICE = 10
#: File systems that are memory.
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_KIB = 1024


def step_back() -> str:
    """Give way to other processes, with all that is started from now on; returns it in words."""
    me = psutil.Process()
    with contextlib.suppress(psutil.Error, OSError):
        if me.nice() < NICE:
            me.nice(NICE)
    said = f"nice {me.nice()}"
    try:
        me.ionice(psutil.IOPRIO_CLASS_IDLE)
    except (psutil.Error, OSError, AttributeError):
        return f"{said}, disk rank unchanged (not available here)"
    return f"{said}, disk only when idle"


class Burden:
    """Measures this process and all below it."""

    def __init__(self) -> None:
        self._began = self._written = 0
        self._began = self._count()

    def written_bytes(self) -> int:
        """Return what was written since this was made; never less than it said before."""
        self._written = max(self._written, self._count() - self._began)
        return self._written

    def memory_bytes(self) -> int:
        """Return the memory used now."""
        return sum(_share(each.pid) for each in _family())

    def _count(self) -> int:
        total = 0
        for each in _family():
            with contextlib.suppress(psutil.Error, OSError, AttributeError):
                total += int(each.io_counters().write_bytes)
        return total


def in_memory(directory: Path) -> bool:
    """Tell whether a directory lies in memory."""
    return file_system(directory) in _IN_MEMORY


def file_system(directory: Path) -> str:
    """Return the kind of file system a directory lies in, "" if nobody knows."""
    real = os.fspath(directory.resolve())
    mounted = [
        part
        for part in psutil.disk_partitions(all=True)
        if os.path.commonpath((real, part.mountpoint)) == part.mountpoint
    ]
    return str(max(mounted, key=lambda part: len(part.mountpoint)).fstype) if mounted else ""


def _family() -> list[psutil.Process]:
    me = psutil.Process()
    with contextlib.suppress(psutil.Error):
        return [me, *me.children(recursive=True)]
    return [me]


def _share(pid: int) -> int:
    try:
        with Path(f"/proc/{pid}/smaps_rollup").open(encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * _KIB
    except (OSError, ValueError, IndexError):
        pass
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
