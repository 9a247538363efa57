"""The file behind a connection of SQLite: whether it is the one at its path still, and whole.

SQLite writes on into a file that was removed, or replaced by another one, and says success: what
it acknowledges then is in no palace. A connection asks before each call, which costs one `stat`.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from palace_store.errors import PalaceError

_LOG = logging.getLogger(__name__)
# Result codes of SQLite; Python names them from 3.11 on only.
_CORRUPT, _NOT_A_DATABASE = 11, 26
_DAMAGE_TEXTS = ("database disk image is malformed", "file is not a database")


class OpenFile:
    """Which file a connection has open; to be made when that was opened.

    As long as it is open, no other file gets its number.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is = _identity(path)

    def gone(self) -> bool:
        """Tell whether its path leads nowhere, or to another file; that is noted in the log."""
        there = _identity(self.path)
        if there == self._is:
            return False
        _LOG.warning(
            "%s was %s while this process had it open; it is opened anew",
            self.path, "removed" if there is None else "replaced",
        )  # fmt: skip
        return True


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def damage_told(path: Path, refusal: Callable[[str], PalaceError]) -> Iterator[None]:
    """Raise what `refusal` makes of a sentence where SQLite says in the block that a file is torn.

    The call that met it is undone.
    """
    try:
        yield
    except PalaceError:
        raise
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None)  # Python 3.10 has none
        if str(error) in _DAMAGE_TEXTS or code in (_CORRUPT, _NOT_A_DATABASE):
            raise refusal(
                f"{path} is damaged ({error}): end what uses it, and put it back from a copy, or "
                "save what is left with `.recover` of the sqlite3 shell"
            ) from error
        raise
