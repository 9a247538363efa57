"""Opens chroma.sqlite3 for reading without creating, changing or unlocking anything.

Rules. No process that holds a chromadb client may open the file, not even to copy it: POSIX drops
all of a process' locks on a file when any descriptor of it is closed, also those of chromadb's own
SQLite. `assert_no_client` refuses that, and is called before every open here. A file with a
rollback journal or a write-ahead log is read from a private copy of both, because only replaying
them gives the true content and replaying writes. Time is bounded by a progress handler.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from palace_store.anatomy.findings import AnatomyError, open_regular
from palace_store.anatomy.private_copy import companions, private_copy

DATABASE = "chroma.sqlite3"
SECONDS_MAX = 120.0

_MAGIC = b"SQLite format 3\x00"
_HEADER_BYTES = 100
_WAL_VERSION = 2
_BUSY_SECONDS = 5.0
_STEPS_BETWEEN_CHECKS = 200_000
_VALUE_BYTES_MAX = 64 * 1024 * 1024


def assert_no_client(path: str | os.PathLike[str]) -> None:
    """Raise `AnatomyError` of kind ``client-open`` if this process has the database file open.

    `path` is a palace or a database file. A file that does not exist is nobody's.
    """
    file = _database_path(path)
    try:
        wanted = file.stat()
    except (OSError, ValueError):
        return
    for entry in Path("/dev/fd").iterdir():
        try:
            status = os.fstat(int(entry.name))
        except (OSError, ValueError):
            continue  # closed since, such as the listing's own descriptor
        if (status.st_dev, status.st_ino) == (wanted.st_dev, wanted.st_ino):
            message = (
                f"this process has {file} open, probably through a chromadb client, and reading it "
                "here would drop that client's locks: survey it before the first client, or in a "
                "process of its own"
            )
            raise AnatomyError(message, kind="client-open")


def _database_path(path: str | os.PathLike[str]) -> Path:
    given = Path(path)
    try:
        return given / DATABASE if given.is_dir() else given
    except ValueError:
        raise AnatomyError(f"{str(given)!a} is not a path") from None


def _check_header(file: Path) -> bool:
    """Return whether the file is in WAL mode; refuse what is no complete database."""
    with open_regular(file) as handle:
        head = handle.read(_HEADER_BYTES)
        size = os.fstat(handle.fileno()).st_size
    if size == 0:
        raise AnatomyError(f"{file} is empty", kind="begun")
    if len(head) < _HEADER_BYTES or not head.startswith(_MAGIC):
        raise AnatomyError(f"{file} is not an SQLite database")
    page = int.from_bytes(head[16:18], "big")
    page_bytes = 65536 if page == 1 else page
    pages = int.from_bytes(head[28:32], "big")
    counted = head[24:28] == head[92:96]
    if counted and size < pages * page_bytes and not companions(file):
        expected = pages * page_bytes
        raise AnatomyError(f"{file} is torn: {size} bytes where its header says {expected}")
    return _WAL_VERSION in (head[18], head[19])


@contextmanager
def settled(path: str | os.PathLike[str], *, copy: bool = False) -> Iterator[Path]:
    """Yield the database file if it can be read in place, else a private copy that is one file.

    `path` is a palace or a database file. `copy` always makes one, which also leaves no lock on the
    original. Raises `AnatomyError` for everything that is wrong with the file.
    """
    file = _database_path(path)
    if not file.exists():
        raise AnatomyError(f"{file} does not exist", kind="missing")
    assert_no_client(file)
    wal = _check_header(file)
    if not (copy or wal or companions(file)):
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="palace-anatomy-") as scratch:
        yield private_copy(file, Path(scratch), wal=wal)


@contextmanager
def open_database(
    path: str | os.PathLike[str], *, copy: bool = False, seconds_max: float = SECONDS_MAX
) -> Iterator[sqlite3.Connection]:
    """Yield a connection that reads the palace's database.

    `path` and `copy` as for `settled`, which is also what is raised; or reading takes longer than
    `seconds_max`.
    """
    named = _database_path(path)
    with settled(path, copy=copy) as file:
        uri = f"file:{quote(os.fsencode(file.resolve()))}?mode=ro"
        connection = _connect(uri, named, seconds_max)
        try:
            yield connection
        except sqlite3.Error as error:
            raise _unreadable(named, error, seconds_max) from None
        finally:
            connection.close()


def _unreadable(file: Path, error: sqlite3.Error, seconds_max: float) -> AnatomyError:
    if str(error) == "interrupted":  # by the progress handler: a slow disk says nothing of the file
        return AnatomyError(f"{file} was not read within {seconds_max:g} s", kind="too-long")
    return AnatomyError(f"{file} cannot be read: {error}")


def _connect(uri: str, file: Path, seconds_max: float) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, cached_statements=0
        )
    except sqlite3.Error as error:
        raise AnatomyError(f"{file} cannot be opened: {error}") from None
    deadline = time.monotonic() + seconds_max
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_CHECKS)
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    if sys.version_info >= (3, 11):
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _VALUE_BYTES_MAX)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN")  # one snapshot for all tables
    except sqlite3.Error as error:
        connection.close()
        raise _unreadable(file, error, seconds_max) from None
    return connection
