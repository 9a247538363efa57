"""S3, as the report proposes it: only one process writes, from its first write until it ends.

A lock file in the palace says which. It keeps two models from being written at the same time; it
knows nothing of models, so it lets the next process write with another one.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from palace_store.errors import SingleWriterError
from palace_store.state import DIRECTORY

_FILE = "writer.lock"


class WriterGuard:
    """The right of one process to be the one that writes; the kernel ends it with the process."""

    def __init__(self, palace: Path) -> None:
        self._path = palace / DIRECTORY / _FILE
        self._handle: int | None = None

    def take(self) -> None:
        """Become the writer, or raise `SingleWriterError` at once if another process is."""
        if self._handle is not None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise SingleWriterError(
                f"another process writes to {self._path.parent.parent}; nothing was written: end "
                "that process, or let it write this"
            ) from None
        self._handle = handle

    def give_back(self) -> None:
        """Be the writer no longer."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
