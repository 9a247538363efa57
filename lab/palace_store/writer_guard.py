"""S3, as the report proposes it: only one process writes, from its first write until it ends.

A lock file in the palace says which. It keeps two models from being written at the same time; it
knows nothing of models, so it lets the next process write with another one.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path

from palace_store.errors import SingleWriterError
from palace_store.sqlite_lock import lock_file
from palace_store.state import DIRECTORY

_FILE = "writer.lock"


class WriterGuard:
    """The right of one process to be the one that writes; the kernel ends it with the process."""

    def __init__(self, palace: Path) -> None:
        self._path = palace / DIRECTORY / _FILE
        self._held: ExitStack | None = None
        self._turn = threading.Lock()

    def take(self) -> None:
        """Become the writer, or raise `SingleWriterError` at once if another process is."""
        with self._turn, ExitStack() as stack:
            if self._held is not None:
                return
            try:
                stack.enter_context(lock_file(self._path))
            except BlockingIOError:
                raise SingleWriterError(
                    f"another process writes to {self._path.parent.parent}; nothing was written: "
                    "end that process, or let it write this"
                ) from None
            self._held = stack.pop_all()

    def give_back(self) -> None:
        """Be the writer no longer."""
        if self._held is not None:
            self._held.close()
            self._held = None
