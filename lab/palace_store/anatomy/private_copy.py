"""Copies an SQLite database with its journals, also from under a living writer.

Rules. Nothing is created, changed or locked for longer than the copy takes. A copy is one state of
the database that was committed, whoever writes meanwhile:

- In WAL mode the file is copied first, then its log. Pages that a checkpoint moves in between are
  in both. Only a log that was begun anew would not fit: a reader's lock on it, as SQLite takes it,
  keeps its writers from that, and its salts show where there was no such lock: then again.
- Else the file is copied under a read lock as SQLite takes it, so that nobody writes to it. A
  journal beside it is copied as well unless a living writer has reserved the file: then it is
  theirs, and nothing of it is in the file yet. SQLite itself is not asked for that copy: it would
  open the journal for writing.
- Where the lock cannot be had, because a writer does not let go, both are copied as they are, and
  again if either changed meanwhile.

The copy is settled: its journal is rolled back or its log folded in, so it is one file.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from palace_store.anatomy.findings import AnatomyError, open_regular

#: How often a copy is tried at least, and for how long: on a busy machine a writer overtakes many.
_ATTEMPTS = 5
_TRY_S = 10.0
#: How long a writer that is about to commit is waited for.
_BUSY_S = 2.0
_PAUSE_S = 0.005
_BLOCK_BYTES = 1 << 20
_WAL_HEADER_BYTES = 32
#: Where SQLite locks a database file (its os.h): the same in every release.
_PENDING_BYTE = 0x40000000
_RESERVED_BYTE = _PENDING_BYTE + 1
_SHARED_FIRST = _PENDING_BYTE + 2
_SHARED_BYTES = 510
#: The last of the readers' locks of a WAL index (its os_unix.c and wal.c): whoever has one of them
#: keeps the log from being begun anew, and readers that come take the others first.
_LAST_READER_BYTE = 120 + 3 + 4

_Stamps = tuple[tuple[str, int, int, int], ...]


def companions(file: Path) -> list[Path]:
    """Return the journals beside the database, where SQLite itself looks for them."""
    real = os.path.realpath(file)
    names = [Path(real + suffix) for suffix in ("-journal", "-wal")]
    return [name for name in names if name.exists()]


def private_copy(file: Path, into: Path, *, wal: bool) -> Path:
    """Return a settled copy of the database in the folder `into`, which is the caller's own.

    `wal` is what the file's header says of its mode. Raises `AnatomyError`: of kind ``no-room``
    where `into` has not enough, ``in-motion`` where every attempt was overtaken by a writer.
    """
    real = Path(os.path.realpath(file))
    until, attempt = time.monotonic() + _TRY_S, 0
    while attempt < _ATTEMPTS or time.monotonic() < until:
        attempt += 1
        target = into / f"attempt-{attempt}" / real.name
        target.parent.mkdir()
        try:
            _check_room(file, real, into)
            if _copied_with_log(real, target) if wal else _copied(real, target):
                _settle(target)
                return target
        except FileNotFoundError:
            continue  # a journal vanished: its writer committed
        except OSError as error:
            raise AnatomyError(f"{file} cannot be copied: {error.strerror}") from None
        except sqlite3.Error as error:
            raise AnatomyError(f"{file} cannot be read: {error}") from None
        shutil.rmtree(target.parent)
    message = f"{file} changed {attempt} times while it was copied: stop its writer first"
    raise AnatomyError(message, kind="in-motion")


def _check_room(file: Path, real: Path, into: Path) -> None:
    wanted = sum(source.stat().st_size for source in (real, *companions(real)))
    free = shutil.disk_usage(into).free
    if wanted > free:
        message = f"{file} needs {wanted} bytes to copy, {into} has {free} free"
        raise AnatomyError(message, kind="no-room")


def _copied(real: Path, target: Path) -> bool:
    """Copy a database with a rollback journal; tell whether no writer came in between."""
    with open_regular(real) as file:
        # Closing the file, which drops these locks, comes last. No other handle of it may exist.
        locked = _locked_shared(file.fileno())
        if locked:
            journals = [] if _reserved(file.fileno()) else companions(real)
            with target.open("xb") as copy:
                shutil.copyfileobj(file, copy, _BLOCK_BYTES)
            for journal in journals:
                _copy_file(journal, target.with_name(journal.name))
            return True
    sources = [real, *companions(real)]
    before = _stamps(sources)
    for source in sources:
        _copy_file(source, target.with_name(source.name))
    return _stamps([real, *companions(real)]) == before


def _locked_shared(fd: int) -> bool:
    """Take SQLite's SHARED lock on a database; False if a writer keeps it for `_BUSY_S`."""
    return _locked(fd, _SHARED_FIRST, _SHARED_BYTES, gate=_PENDING_BYTE)


def _locked(fd: int, first: int, count: int, *, gate: int | None = None) -> bool:
    """Take a shared lock on bytes, passing by the `gate`; False if it is kept for `_BUSY_S`."""
    until = time.monotonic() + _BUSY_S
    while True:
        try:
            if gate is not None:
                fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, gate)
            try:
                fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB, count, first)
            finally:
                if gate is not None:
                    fcntl.lockf(fd, fcntl.LOCK_UN, 1, gate)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(_PAUSE_S)
        except OSError:
            return False  # a file system without locks
        else:
            return True


def _reserved(fd: int) -> bool:
    """Tell whether another process has SQLite's RESERVED lock: it is about to write."""
    asked = struct.pack("@hhqqi", fcntl.F_WRLCK, os.SEEK_SET, _RESERVED_BYTE, 1, 0)
    # F_WRLCK is asked about, never taken: a writer must not find the byte locked.
    answer = fcntl.fcntl(fd, fcntl.F_GETLK, asked)
    return bool(struct.unpack_from("@h", answer)[0] != fcntl.F_UNLCK)


def _copied_with_log(real: Path, target: Path) -> bool:
    """Copy a database and its write-ahead log; tell whether they belong together."""
    log = Path(f"{real}-wal")
    with _log_pinned(real):
        before = _stamps([real]), _salts(log)
        _copy_file(real, target)
        if before[1]:
            _copy_file(log, target.with_name(log.name))
            return _salts(log) == before[1]
        return (_stamps([real]), _salts(log)) == before


@contextmanager
def _log_pinned(real: Path) -> Iterator[None]:
    """Keep writers from beginning the log anew, where there is a WAL index and a lock to be had."""
    with ExitStack() as stack:
        try:
            index = stack.enter_context(open_regular(Path(f"{real}-shm")))
        except AnatomyError:
            pass  # nobody has the database open, or one process alone: nothing to be locked
        else:
            _locked(index.fileno(), _LAST_READER_BYTE, 1)
        yield


def _salts(log: Path) -> bytes:
    """Return the head of a log, which is another one each time it is begun anew."""
    try:
        with open_regular(log) as handle:
            return handle.read(_WAL_HEADER_BYTES)
    except AnatomyError as error:
        if error.kind == "missing":
            return b""
        raise


def _stamps(files: list[Path]) -> _Stamps:
    found = []
    for file in files:
        status = file.stat()
        found.append((file.name, status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)


def _copy_file(source: Path, target: Path) -> None:
    with open_regular(source) as reader, target.open("xb") as writer:
        shutil.copyfileobj(reader, writer, _BLOCK_BYTES)


def _settle(copy: Path) -> None:
    connection = sqlite3.connect(copy, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = DELETE").fetchone()
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    finally:
        connection.close()
