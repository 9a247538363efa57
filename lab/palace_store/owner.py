"""Who a process is, so that nobody takes a later one, or one of another container, for it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    """One process, told apart from a later one that got the same number."""

    pid: int
    started: int  # clock ticks since boot, from /proc/PID/stat
    boot: str
    space: str = ""  # the PID namespace its number is of; "" where nobody noted it

    @classmethod
    def current(cls) -> Owner:
        """Return this process."""
        return cls(os.getpid(), _start_ticks(os.getpid()) or 0, boot_id(), pid_space())

    def alive(self) -> bool:
        """Tell whether that very process still exists (stopped counts as alive).

        One of another container cannot be seen from here, so it counts as alive.
        """
        if self.boot != boot_id():
            return False
        elsewhere = self.space not in ("", pid_space())
        return elsewhere or _start_ticks(self.pid) == self.started


def boot_id() -> str:
    """Return the identity of this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def pid_space() -> str:
    """Return which PID namespace this process is in, "" where the kernel does not say."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _start_ticks(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])
