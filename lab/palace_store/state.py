"""What the processes that share a palace tell each other: one small file, replaced atomically.

`<palace>/.palace/state.json` holds the generation (raised by every change, so that a client that
missed a peer's write knows it), the newest chromadb that opened the palace (S0), the note that a
change is under way (S1: it outlives the death of the writer), and who holds the palace for longer
than one operation. It is read and written only by whoever holds the lock beside it.

A file that cannot be read says that anything may have happened: every index is suspicious, no
client is up to date, no hold is valid. So nothing is written that would be too long to be read.
"""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from palace_store.errors import PalaceInputError
from palace_store.owner import Owner

DIRECTORY = ".palace"
_FILE = "state.json"
#: Our choice: a bound for what is no state of ours. A collection takes some 115 bytes of it.
_BYTES_MAX = 16 * 1024 * 1024
_VERSION = re.compile(r"(\d+(\.\d+){1,3}[\w.+-]*)?")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Hold:
    """A lease kept over several operations, until it expires, is given back, or its owner dies."""

    owner: Owner
    token: int
    expires_s: float  # on the boot clock, which also runs while a machine sleeps


@dataclass(frozen=True)
class Turn:
    """Who changed the palace last and may go on before others do; on the boot clock, in seconds.

    It may, if it comes back at most `gap_s` after it left.
    """

    pid: int
    until_s: float
    left_s: float
    gap_s: float = 0.005


@dataclass(frozen=True)
class State:
    """The whole of the shared state."""

    generation: int = 0
    chromadb: str = ""
    migrations: tuple[str, ...] = ()  # of its tables, when they were last found to be known
    retained: bool = False  # the log holds the vector of every row, and chromadb never purges it
    lossy: bool = False  # rows were found whose vector no file surely holds
    open_flush: tuple[str, ...] = ()  # collections whose index may be half written
    read_back: tuple[str, ...] = ()  # the index files as they were last compared with the log
    left: tuple[str, ...] | None = None  # the index files as this library last left them
    trim_at: int = 0  # the size of the database, in bytes, from which on the log is trimmed
    token: int = 0
    hold: Hold | None = None
    turn: Turn | None = None

    def changed(self, **values: Any) -> State:
        """Return a copy with some values replaced."""
        return replace(self, **values)

    def next_generation(self) -> int:
        """Return a generation that no client can have seen, not even before the file was lost."""
        return max(self.generation + 1, time.time_ns())


#: Stands for every collection: what an unreadable state file says, so nothing is trusted.
EVERYTHING = "*"


def place_of(palace: Path | str) -> Path:
    """Return the path of a palace, the same wherever the process or a link goes.

    Raises `PalaceInputError` for one that is empty, holds NUL, or is not UTF-8.
    """
    text = os.fsdecode(palace) if isinstance(palace, str | os.PathLike) else ""
    if not text or "\0" in text or not _is_unicode(text):
        raise PalaceInputError(f"{palace!r:.200} cannot be the path of a palace: name a folder")
    return Path(os.path.realpath(text))


def _is_unicode(text: str) -> bool:
    """Tell whether a text can be written down; chromadb and SQLite open no path that cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def names(noted: tuple[str, ...], collection: str) -> bool:
    """Tell whether a note of open flushes means this collection."""
    return EVERYTHING in noted or collection in noted


def of_default(collection: str) -> bool:
    """Tell whether a name is of chromadb's default tenant and database, where the library writes.

    The names of others are `tenant/database/name`; no collection has a slash in its own.
    """
    return "/" not in collection


def read_state(palace: Path) -> State:
    """Read the shared state; an unreadable file counts as a change that was cut off everywhere."""
    try:
        handle = os.open(f"{palace}/{DIRECTORY}/{_FILE}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return State()
    try:
        text = os.read(handle, min(os.fstat(handle).st_size, _BYTES_MAX) + 1)
    finally:
        os.close(handle)
    try:
        return _parsed(text)
    except (ValueError, TypeError, KeyError, RecursionError):
        now = time.time_ns()
        return State(generation=now, token=now, open_flush=(EVERYTHING,))


@lru_cache(maxsize=4)  # most reads find what the last one found
def _parsed(text: bytes) -> State:
    raw = json.loads(text)
    version = _typed(raw["chromadb"], str)
    if not _VERSION.fullmatch(version):
        raise ValueError(version)
    hold = raw["hold"]
    if hold is not None:
        owner = hold["owner"]
        hold = Hold(
            Owner(
                _typed(owner["pid"], int),
                _typed(owner["started"], int),
                _typed(owner["boot"], str),
                _typed(owner.get("space", ""), str),
            ),
            _typed(hold["token"], int),
            _typed(hold["expires_s"], float),
        )
    turn = raw["turn"]
    if turn is not None:
        turn = Turn(
            _typed(turn["pid"], int),
            _typed(turn["until_s"], float),
            _typed(turn["left_s"], float),
            _typed(turn.get("gap_s", Turn.gap_s), float),
        )
    return State(
        generation=_typed(raw["generation"], int),
        chromadb=version,
        migrations=_words(raw.get("migrations", [])),
        retained=_typed(raw["retained"], bool),
        lossy=_typed(raw["lossy"], bool),
        open_flush=_words(raw["open_flush"]),
        read_back=_words(raw["read_back"]),
        left=None if raw["left"] is None else _words(raw["left"]),
        trim_at=_typed(raw["trim_at"], int),
        token=_typed(raw["token"], int),
        hold=hold,
        turn=turn,
    )


def _words(value: Any) -> tuple[str, ...]:
    return tuple(_typed(word, str) for word in _typed(value, list))


def _typed(value: Any, kind: type[_T]) -> _T:
    if type(value) is not kind:
        raise TypeError(value)
    return value


def write_state(palace: Path, state: State, *, durable: bool) -> None:
    """Replace the shared state; `durable` also survives a loss of power.

    Of one that is too long to be read again, what can be found out anew is left out.
    """
    text = _spelled(state)
    if len(text) > _BYTES_MAX:
        open_flush = (EVERYTHING,) if state.open_flush else ()
        text = _spelled(state.changed(read_back=(), left=None, open_flush=open_flush))
    directory = palace / DIRECTORY
    temporary = directory / f"{_FILE}.{os.getpid()}.new"
    with temporary.open("wb") as out:
        out.write(text)
        if durable:
            out.flush()
            os.fsync(out.fileno())
    temporary.replace(directory / _FILE)
    if durable:
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _spelled(state: State) -> bytes:
    return json.dumps(asdict(state), sort_keys=True).encode()


def sweep(palace: Path) -> None:
    """Remove what writers left that died while they wrote; only for who holds the lock alone."""
    for left in (palace / DIRECTORY).glob(f"{_FILE}.*.new"):
        left.unlink(missing_ok=True)
