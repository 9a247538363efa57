"""One process's part of a history: fixed-size records in a file mapped into memory.

Rules:
- A record is in the page cache as soon as it is written, so it survives SIGKILL of its writer.
- The state byte of a record is written last: a record that was being written when its writer died
  is not there.
- The magic is written last, too: a file without it was never begun, and is an empty history.
- A segment that ran full says so in its header: what is missing then is trouble of the lab, and
  must not look like a process that did nothing more.
- A call has an *invoke* record and at most one ending: ok, fail (known to precede any effect) or
  info (nobody can tell). A call without an ending is info: its process died inside it.

Only the standard library and our errors: workers in every environment write these.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import monotonic_ns
from typing import Literal

from palace_lab.errors import LabError

Phase = Literal["invoke", "ok", "fail", "info", "fault", "note"]
PHASES: tuple[Phase, ...] = ("invoke", "ok", "fail", "info", "fault", "note")
_CODES = {phase: code for code, phase in enumerate(PHASES)}
_INVOKE = _CODES["invoke"]
#: What the notes and faults are called that reports look for: an end, a contradiction that showed,
#: calls that are not in the history.
DIED, CONTRADICTION, LEFT_OUT = "died", "contradiction", "left out"

RECORD_BYTES = 512
_HEADER = struct.Struct("<8sIIi44s")  # magic, version, record bytes, pid, process name
_RECORD = struct.Struct("<BBHIqqii24s")  # state, phase, text bytes, call, ns, first, count, rev, op
_pack_into = _RECORD.pack_into
_MAGIC = b"PLHIST\r\n"
_VERSION = 1
_NAME_BYTES_MAX = 44
_OP_BYTES_MAX = 24
_FULL_AT = RECORD_BYTES - 1  # the last byte of the header's record
_TEXT_BYTES_MAX = RECORD_BYTES - _RECORD.size
#: 32 MiB of address space; the file is sparse, so a short history costs a few pages.
CAPACITY = 65_536


@dataclass(frozen=True, slots=True)
class Event:
    """One record, as read back.

    `first` and `count` say which drawers or triples the call was about, `revision` which version
    of them; `time_ns` is the machine's monotonic clock, the same in all processes.
    """

    process: str
    pid: int
    call: int
    phase: Phase
    op: str
    time_ns: int
    first: int
    count: int
    revision: int
    text: str


class HistoryFullError(LabError):
    """A process recorded more than its segment holds."""


class Recorder:
    """Writes the history of one process. Not thread-safe.

    A process name has at most 44 bytes, an operation's name 24, a text 456; longer texts are cut.
    """

    __slots__ = ("_calls", "_capacity", "_map", "_next", "_size")

    def __init__(self, path: Path, process: str, *, capacity: int = CAPACITY) -> None:
        name = _whole(process, _NAME_BYTES_MAX)
        self._capacity = capacity
        self._next = RECORD_BYTES  # where the next record goes
        self._calls = 0
        self._size = size = RECORD_BYTES * (capacity + 1)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            os.ftruncate(handle, size)
            self._map = mmap.mmap(handle, size)
        finally:
            os.close(handle)
        _HEADER.pack_into(self._map, 0, b"", _VERSION, RECORD_BYTES, os.getpid(), name)
        self._map[: len(_MAGIC)] = _MAGIC

    def invoke(self, op: str, *, first: int = 0, count: int = 0, revision: int = 0) -> int:
        """Record that a call begins; returns its number for `end`."""
        call = self._calls = self._calls + 1
        self._append(_INVOKE, op, call, first, count, revision, b"")
        return call

    def write(
        self,
        phase: Phase,
        op: str,
        call: int = 0,
        *,
        first: int = 0,
        count: int = 0,
        revision: int = 0,
        text: str = "",
    ) -> None:
        """Append one record; long texts are cut."""
        note = _cut(text) if text else b""
        self._append(_CODES[phase], op, call, first, count, revision, note)

    def _append(
        self, code: int, op: str, call: int, first: int, count: int, revision: int, note: bytes
    ) -> None:
        offset = self._next
        if offset >= self._size:
            self._map[_FULL_AT] = 1
            raise HistoryFullError(_full(self._capacity))
        size, now, name = len(note), monotonic_ns(), _operation(op)
        _pack_into(self._map, offset, 0, code, size, call, now, first, count, revision, name)
        if note:
            begin = offset + _RECORD.size
            self._map[begin : begin + size] = note
        self._map[offset] = 1
        # Last: a record that could not be packed leaves no hole before the next.
        self._next = offset + RECORD_BYTES

    def close(self) -> None:
        """Unmap the segment."""
        self._map.close()


def read_segment(path: Path) -> Iterator[Event]:
    """Yield the complete records of one segment, in the order they were written.

    Raises LabError for a segment that ran full, or that another version of the lab wrote.
    """
    with path.open("rb") as file:
        header = file.read(RECORD_BYTES)
        if len(header) < _HEADER.size:
            return  # its process died while it made the file
        magic, version, size, pid, raw = _HEADER.unpack_from(header)
        if magic != _MAGIC:
            return
        if version != _VERSION or size != RECORD_BYTES:
            raise LabError(
                f"{path} is a history of version {version} with records of {size} bytes; this lab "
                f"reads version {_VERSION} with {RECORD_BYTES}"
            )
        if header[_FULL_AT : _FULL_AT + 1] == b"\1":
            raise HistoryFullError(f"{path}: {_full(path.stat().st_size // RECORD_BYTES - 1)}")
        process = raw.rstrip(b"\0").decode(errors="replace")
        names: dict[bytes, str] = {}
        while record := file.read(RECORD_BYTES):
            if len(record) < RECORD_BYTES or record[0] != 1:
                return
            _, code, length, call, at, first, count, revision, op = _RECORD.unpack_from(record)
            text = ""
            if length:
                text = record[_RECORD.size : _RECORD.size + length].decode("utf-8", "replace")
            name = names.get(op)
            if name is None:  # one string for all its events: a history may have a million
                name = names[op] = op.rstrip(b"\0").decode(errors="replace")
            yield Event(process, pid, call, PHASES[code], name, at, first, count, revision, text)


def _whole(name: str, bytes_max: int) -> bytes:
    """Return a name as bytes; one that had to be cut would be another name."""
    raw = name.encode("utf-8", "backslashreplace")
    if len(raw) > bytes_max:
        raise ValueError(f"{name!r} has {len(raw)} bytes; a history has room for {bytes_max}")
    return raw


@cache
def _operation(op: str) -> bytes:
    """Return the name of an operation as bytes; a process knows a few dozen of them."""
    return _whole(op, _OP_BYTES_MAX)


def _cut(text: str) -> bytes:
    """Return as much of a text as a record holds, in whole characters."""
    raw = text.encode("utf-8", "backslashreplace")[:_TEXT_BYTES_MAX]
    return raw.decode("utf-8", "ignore").encode()


def _full(capacity: int) -> str:
    return f"a history segment holds {capacity} records and is full; write larger batches, or fewer"
