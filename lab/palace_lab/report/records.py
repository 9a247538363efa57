"""results.jsonl: one line per trial, kept as the run goes, so that a killed run can go on from it.

Rules:
- A line counts once its newline is there. A torn last line (the lab was killed while it wrote) is
  passed over when reading and cut off before anything is appended.
- Each line is handed to the operating system at once: it survives the lab's own SIGKILL. In a
  `durable` file it is on the disk as well before `append` returns: it survives a loss of power.
- One writer at a time; the file is locked while it is open.
- There is no header; every record carries its `schema`.
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, final

import msgspec

from palace_lab.errors import UsageError
from palace_lab.judge.results import SCHEMA, TrialRecord
from palace_lab.report.rundir import RunDirectory

__all__ = ["ResultsFile", "RunDirectory", "encode_record", "read_records"]

_CHUNK_BYTES = 1 << 16


class _Head(msgspec.Struct):
    """The part of a record that says how to read the rest."""

    schema: int


_HEADS = msgspec.json.Decoder(_Head)
_RECORDS = msgspec.json.Decoder(TrialRecord)


@final
class ResultsFile:
    """A results.jsonl that records are appended to, from any thread."""

    def __init__(self, path: Path, *, durable: bool = False) -> None:
        self.path = path
        self._durable = durable
        self._lock = threading.Lock()
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._file, _whole_lines_bytes(self._file))
        except BlockingIOError:
            os.close(self._file)
            raise UsageError(
                f"another run is writing {path}; wait for it to end, or start a run of its own"
            ) from None

    def __enter__(self) -> ResultsFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def append(self, record: TrialRecord) -> None:
        """Add one record; when this returns the operating system has it."""
        rest = memoryview(encode_record(record))
        with self._lock:
            while rest:
                rest = rest[os.write(self._file, rest) :]
            if self._durable:
                os.fdatasync(self._file)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1


def encode_record(record: TrialRecord) -> bytes:
    """Return one record as a line. What is no text (half a surrogate pair) is escaped."""
    try:
        line = msgspec.json.encode(record)
    except UnicodeEncodeError:
        line = msgspec.json.encode(_scrubbed(msgspec.to_builtins(record)))
    return line + b"\n"


def read_records(path: Path) -> list[TrialRecord]:
    """Return the records of a file in the order they were written.

    Raises `UsageError` for a file that cannot be read, a whole line that is no record, or a record
    of another schema.
    """
    records = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.endswith(b"\n"):
                    records.append(_decode(line, f"{path}, line {number}"))
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}; a run keeps its results.jsonl in its directory "
            "under reports/"
        ) from None
    return records


def _decode(line: bytes, where: str) -> TrialRecord:
    try:
        schema = _HEADS.decode(line).schema
        if schema != SCHEMA:
            raise UsageError(
                f"{where} is a record of schema {schema}, this lab reads {SCHEMA}; "
                "read it with the version of the lab that wrote it"
            )
        return _RECORDS.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{where} is no record of a trial: {error}; remove that line to go on without it"
        ) from None


def _whole_lines_bytes(file: int) -> int:
    """Return how many bytes of an open file are whole lines."""
    end = os.fstat(file).st_size
    while end > 0:
        start = max(0, end - _CHUNK_BYTES)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _scrubbed(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_scrubbed(name): _scrubbed(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_scrubbed(each) for each in value]
    return value
