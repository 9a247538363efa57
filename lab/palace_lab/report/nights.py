"""The directories of nights: begun, gone on with after a loss of power, and removed in time.

Rules:
- A night is a run's directory with a marker that holds its name. Only a directory with its own
  marker, directly in the folder of nights, is ever removed; the ledger and its plans never are.
- `state.json` says how long the night has worked and what it has written, so that one that goes on
  has what is left of its time and budget. It is replaced whole, at most every `NOTE_EVERY_S`.
- One soak at a time works in a folder.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from palace_lab.errors import UsageError
from palace_lab.processes.janitor import remove_tree
from palace_lab.provision.dirlock import holder, try_take
from palace_lab.report.durable import replace_file
from palace_lab.report.rundir import RunDirectory

MARKER = ".palace-lab-night"
#: In the folder while a night is begun and not ended, for whoever starts services after a boot.
UNFINISHED = "unfinished"
STATE = "state.json"
LOCK = ".soak-lock"
NOTE_EVERY_S = 60.0
#: One that began longer ago is another night, and nobody goes on with it.
_SAME_NIGHT_S = 24 * 3600.0
_NAME = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")


@dataclass(frozen=True)
class Keep:
    """How many nights stay, and how much of the disk they may take together."""

    nights: int
    disk_bytes: int


class NightState(msgspec.Struct, kw_only=True):
    """How far a night has come."""

    worked_s: float = 0.0
    written_bytes: int = 0
    ended: str = ""  # why, in words; "" while it has not


class Night:
    """One night: its directory, and how far it has come."""

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self.path = directory.path
        self.state = _state(directory.path)
        self._noted_s = time.monotonic()

    @classmethod
    def begin(cls, folder: Path) -> Night:
        """Make the directory of a new night."""
        directory = RunDirectory.create(folder)
        night = cls(directory)
        try:
            (directory.path / MARKER).write_text(directory.run_id, encoding="utf-8")
            (folder / UNFINISHED).write_text(f"{directory.run_id}\n", encoding="utf-8")
            night.note(0.0, 0)
        except OSError as error:
            raise UsageError(
                f"cannot write nights to {folder}: {error.strerror}; choose another with --soak-dir"
            ) from None
        return night

    @property
    def name(self) -> str:
        """Return its name, which begins with its date."""
        return self.directory.run_id

    def note(self, worked_s: float, written_bytes: int, *, ended: str = "") -> None:
        """Write down how far it has come; raises OSError."""
        self.state = NightState(
            worked_s=round(worked_s, 1), written_bytes=written_bytes, ended=ended
        )
        replace_file(self.path / STATE, msgspec.json.encode(self.state))
        self._noted_s = time.monotonic()
        if ended:
            (self.path.parent / UNFINISHED).unlink(missing_ok=True)

    def note_in_time(self, worked_s: float, written_bytes: int) -> bool:
        """Do the same if the last time is long enough ago; tell whether it was done."""
        if time.monotonic() - self._noted_s < NOTE_EVERY_S:
            return False
        self.note(worked_s, written_bytes)
        return True


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Keep every other soak out of a folder of nights, which is made if it is not there."""
    lock = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = try_take(lock, shared=False)
    except OSError as error:
        raise UsageError(
            f"cannot write nights to {folder}: {error.strerror}; choose another with --soak-dir"
        ) from None
    if descriptor is None:
        raise UsageError(
            f"{holder(lock)} is at work in {folder}: wait for its end, or choose another folder "
            "with --soak-dir"
        )
    try:
        yield
    finally:
        os.close(descriptor)


def nights(folder: Path) -> list[Path]:
    """Return the directories of nights, oldest first: those with a marker of their own."""
    try:
        found = sorted(folder.iterdir())
    except OSError:
        return []
    return [path for path in found if _is_night(path)]


def unfinished(folder: Path) -> Night | None:
    """Return the newest night if it has not ended and began within a day, else None.

    One without results, which a loss of power may leave, cannot be gone on with either.
    """
    for path in reversed(nights(folder)):
        began = _began(path.name)
        age_s = 0.0 if began is None else (datetime.now(timezone.utc) - began).total_seconds()
        if _state(path).ended or age_s > _SAME_NIGHT_S:
            return None
        if not RunDirectory(path).results_path.is_file():
            return None
        return Night(RunDirectory.open_existing(path))
    return None


def cut_off(folder: Path) -> list[Night]:
    """Return every night that has not ended, oldest first, however long ago it began."""
    return [Night(RunDirectory(path)) for path in nights(folder) if not _state(path).ended]


def retire(folder: Path, keep: Keep, *, current: Path | None = None) -> list[Path]:
    """Remove the oldest nights until no more are left than may stay; returns them.

    `current` counts and is never removed.
    """
    old = [path for path in nights(folder) if path != current]
    sizes = {path: _disk_bytes(path) for path in nights(folder)}
    removed: list[Path] = []
    while old and (len(sizes) > keep.nights or sum(sizes.values()) > keep.disk_bytes):
        path = old.pop(0)
        remove_tree(path)
        sizes.pop(path)
        removed.append(path)
    return removed


def _began(name: str) -> datetime | None:
    """Return when a night began, by its name; None if it is no night's."""
    if _NAME.fullmatch(name) is None:
        return None
    try:
        return datetime.strptime(name[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return None


def _is_night(path: Path) -> bool:
    if path.is_symlink() or not path.is_dir() or _began(path.name) is None:
        return False
    try:
        return (path / MARKER).read_text(encoding="utf-8", errors="replace") == path.name
    except OSError:
        return False


def _state(path: Path) -> NightState:
    """Return how far a night has come; one that does not say has not worked yet."""
    try:
        state = msgspec.json.decode((path / STATE).read_bytes(), type=NightState)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return NightState()
    return state if state.worked_s >= 0 and state.written_bytes >= 0 else NightState()


def _disk_bytes(path: Path) -> int:
    return sum(
        512 * Path(place, name).lstat().st_blocks
        for place, _, names in os.walk(path)
        for name in names
    )
