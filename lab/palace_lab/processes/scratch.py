"""The directory a run works in, which is gone when the run is, however it ended.

Rules: the lab removes only directories it made: their name begins with ``palace-lab-`` and they
hold a marker with the run's id. Main holds a lock on its own; one that nobody holds was left by a
run that was killed together with its janitor, and the next run removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import uuid
from pathlib import Path
from typing import final

from palace_lab.processes import janitor
from palace_lab.processes.janitor import MARKER, PREFIX, remove_tree

_LOCK = ".palace-lab-lock"


@final
class ScratchDirectory:
    """A context manager that makes, guards and removes the scratch directory of a run.

    It lies in `root` (default: the system's temporary directory). With `keep` it is left behind for
    a person to look at, and no later run removes it.
    """

    def __init__(self, root: Path | None = None, *, keep: bool = False) -> None:
        self.run_id = uuid.uuid4().hex
        self._root = (root or Path(tempfile.gettempdir())).resolve()
        self._keep = keep
        self._path: Path | None = None
        self._lock_fd = -1
        self._janitor: janitor.Janitor | None = None

    @property
    def path(self) -> Path:
        """The directory, absolute and free of symbolic links."""
        if self._path is None:
            raise ValueError("a scratch directory exists only inside its with block")
        return self._path

    def __enter__(self) -> ScratchDirectory:
        self._root.mkdir(parents=True, exist_ok=True)
        sweep(self._root)
        self._path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._root))
        self._lock_fd = os.open(self._path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        # The marker comes last: without it no sweep touches the directory.
        (self._path / MARKER).write_text(self.run_id)
        if not self._keep:
            self._janitor = janitor.Janitor(self._path, self.run_id)
        return self

    def __exit__(self, *_: object) -> None:
        if self._keep:
            (self.path / MARKER).unlink(missing_ok=True)
        else:
            remove_tree(self.path)
        if self._janitor is not None:
            self._janitor.dismiss()
        os.close(self._lock_fd)
        self._path = None


def run_id_of(directory: Path) -> str | None:
    """Return the id of the run whose scratch directory contains `directory`, None outside one."""
    for place in (directory, *directory.parents):
        with contextlib.suppress(OSError):
            return (place / MARKER).read_text().strip()
    return None


def sweep(root: Path) -> list[Path]:
    """Remove the scratch directories in `root` whose run is no more; return them."""
    removed = []
    for place in root.glob(f"{PREFIX}*"):
        try:
            lock_fd = os.open(place / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # another user's, or being removed at this moment
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # its run is alive
        else:
            if (place / MARKER).is_file():
                remove_tree(place)
                removed.append(place)
        finally:
            os.close(lock_fd)
    return removed
