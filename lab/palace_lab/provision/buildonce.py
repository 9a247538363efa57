"""Directories that are built once and then only used, by any number of processes.

Rules. Builders hold the lock beside the directory alone, users share it until they end. A
`.complete` file, written last, tells a finished directory from what a killed build left, which
is removed and built again. A failed build leaves nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from palace_lab.errors import RefusedError
from palace_lab.provision import dirlock

COMPLETE = ".complete"

#: The longest build there is, done by a peer.
WAIT_SECONDS_MAX = 2400.0

_ATTEMPTS_MAX = 5


def provide(
    directory: Path,
    build: Callable[[int], str],
    *,
    is_sound: Callable[[Path], bool],
    waiting: Callable[[str], None],
) -> int | None:
    """Build the directory unless it is there, and return a descriptor that keeps it there.

    `build` is given the descriptor of the lock, to hand to programs that must not be outlived
    by it, and returns what to write into the mark. `is_sound` looks at a finished directory. The
    result is None for a directory that others provide read-only. Raises OSError for what the disk
    refuses and `RefusedError` when a peer holds the lock too long.
    """
    lock_file = lock_beside(directory)
    for _ in range(_ATTEMPTS_MAX):
        if is_complete(directory) and is_sound(directory):
            try:
                held = dirlock.take(
                    lock_file, shared=True, seconds_max=WAIT_SECONDS_MAX, waiting=waiting
                )
            except OSError:
                # No lock file, and none can be made: then nobody can remove the directory either.
                if os.access(directory.parent, os.W_OK):
                    raise
                return None
            if is_complete(directory):
                return held
            os.close(held)
        directory.parent.mkdir(parents=True, exist_ok=True)
        alone = dirlock.take(lock_file, shared=False, seconds_max=WAIT_SECONDS_MAX, waiting=waiting)
        try:
            if not (is_complete(directory) and is_sound(directory)):
                _build_alone(directory, build, alone)
        finally:
            os.close(alone)
    raise RefusedError(
        f"{directory} vanished {_ATTEMPTS_MAX} times while it was wanted; something else removes "
        "it: stop that, then try again"
    )


def discard(directory: Path, *, unless: Callable[[], bool]) -> bool:
    """Remove a directory and its lock unless somebody builds or uses it; tell whether it went.

    `unless` is asked once more when nobody can change the directory, and keeps it by saying yes.
    """
    lock_file = lock_beside(directory)
    alone = dirlock.try_take(lock_file, shared=False)
    if alone is None:
        return False
    try:
        if unless():
            return False
        remove_tree(directory)
        lock_file.unlink(missing_ok=True)
    finally:
        os.close(alone)
    return True


def lock_beside(directory: Path) -> Path:
    """Return the lock file of a directory."""
    return directory.with_name(directory.name + ".lock")


def is_complete(directory: Path) -> bool:
    """Tell whether the directory was finished."""
    return (directory / COMPLETE).is_file()


def remove_tree(directory: Path) -> None:
    """Remove a directory, its mark first, so that what a death leaves is not taken for one."""
    try:
        (directory / COMPLETE).unlink(missing_ok=True)
        shutil.rmtree(directory)
    except FileNotFoundError:
        return


def _build_alone(directory: Path, build: Callable[[int], str], alone: int) -> None:
    remove_tree(directory)
    try:
        mark = build(alone)
        unfinished = directory / (COMPLETE + ".new")
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(mark)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(directory / COMPLETE)
    except BaseException:
        remove_tree(directory)
        raise
