"""Locks beside directories: who builds a directory, and who still uses it.

Rules. Building or removing takes the lock alone; using takes it shared, for as long as the
process lives. Every wait is bounded and says for whom it waits. The lock is the kernel's
(flock), so a death releases it; a child that was handed the descriptor keeps it until it ends
as well.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from palace_lab.errors import RefusedError

POLL_SECONDS = 0.1


def take(
    path: Path,
    *,
    shared: bool,
    seconds_max: float,
    waiting: Callable[[str], None],
) -> int:
    """Return a descriptor that holds the lock, waiting no longer than `seconds_max`.

    `waiting` is told once, in a sentence, for whom. Raises `RefusedError` when the time is up
    and OSError when the lock file cannot be made.
    """
    deadline = time.monotonic() + seconds_max
    told = False
    while True:
        descriptor = try_take(path, shared=shared)
        if descriptor is not None:
            return descriptor
        if time.monotonic() >= deadline:
            raise RefusedError(
                f"{holder(path)} has held {path} for more than {seconds_max:.0f} s; "
                "end it if it is stuck, then try again"
            )
        if not told:
            waiting(f"waiting for {holder(path)}, which holds {path.name}")
            told = True
        time.sleep(POLL_SECONDS)


def try_take(path: Path, *, shared: bool) -> int | None:
    """Return a descriptor that holds the lock, or None when another holder is in the way."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        descriptor = _open(path, shared=shared)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            if _is_file_at(descriptor, path):
                if not shared:
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        # A remover unlinked the file between our open and our lock: this lock guards nothing.
        os.close(descriptor)


def holder(path: Path) -> str:
    """Name who last took the lock alone; users who share it leave no name."""
    try:
        process_id = path.read_text(encoding="ascii").strip()
    except OSError:
        process_id = ""
    return f"process {process_id}" if process_id else "another process"


def _open(path: Path, *, shared: bool) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        # A store that is read-only for us can still be used, and its lock still be shared.
        if not shared:
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _is_file_at(descriptor: int, path: Path) -> bool:
    mine = os.fstat(descriptor)
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
