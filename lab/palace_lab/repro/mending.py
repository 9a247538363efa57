"""Makes a mended copy of a palace; the palace itself is only read.

Rules. Nobody may be using the palace, or the copy would show no moment that ever was. The copy has
files of its own, so that nothing written there reaches the palace through a link. The library opens
it in the environment of one release of chromadb, in a process of its own: its death is told.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from palace_lab.environments import Environment
from palace_lab.errors import LabError, RefusedError, UsageError
from palace_lab.processes.janitor import RUN_VARIABLE
from palace_lab.processes.roots import make_import_root
from palace_lab.report.words import duration, one_line, size
from palace_lab.repro.holders import find_holders
from palace_lab.repro.reader import scratch_directory, watch
from palace_lab.repro.reading import stamps
from palace_store.shell import NO_ROOM

DEADLINE_S = 3600.0
_BLOCK_BYTES = 4 << 20
_GONE = (
    "the copy was removed and the palace is as it was: ask for the release that last wrote it "
    "(--release), or put the palace back from a backup"
)
_NO_ROOM = (
    "the copy was removed and the palace is as it was: make room, or name a folder that has about "
    "twice what the palace takes"
)
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_LINES_MAX, _LINE_MAX = 40, 300
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Mended:
    """What the library made of a copy: by collection its rows, and the ids that no search finds.

    `said` is what it logged, one sentence a line.
    """

    rows: Mapping[str, int]
    unfindable: Mapping[str, tuple[str, ...]]
    said: tuple[str, ...]


def check_target(palace: Path, into: Path) -> Path:
    """Return where the copy goes, absolute; raise `UsageError` for a place that will not do."""
    try:
        target = into.parent.resolve(strict=True) / into.name
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{into} cannot be made ({reason}): name a new folder elsewhere") from None
    if os.path.lexists(target):
        raise UsageError(f"{target} is there already: name a folder that is not, for the copy")
    if not into.name or target.is_relative_to(palace):
        raise UsageError(f"{into} would be in the palace itself: name a folder beside it")
    return target


def refuse_held(palace: Path) -> None:
    """Raise `UsageError` where a living process has files of the palace open."""
    holders = find_holders(palace).processes
    if holders:
        who = ", ".join(f"{one_line(each.program)} (pid {each.pid})" for each in holders[:3])
        raise UsageError(f"{palace} is in use by {who}: stop what uses it, then ask again")


def copy_palace(palace: Path, target: Path, tell: Tell) -> int:
    """Copy all of it and return how many bytes; a copy that could not be finished is removed."""
    refuse_held(palace)
    before = stamps(palace)
    files = [(path, path.stat().st_size) for path in _files(palace)]
    began, done, total = time.monotonic(), 0, sum(each for _, each in files)
    _make(target)
    try:
        for path, _ in files:
            copy = target / path.relative_to(palace)
            copy.parent.mkdir(parents=True, exist_ok=True)
            with path.open("rb") as source, copy.open("xb") as sink:
                while block := source.read(_BLOCK_BYTES):
                    done += sink.write(block)
                    tell(_progress(done, total, time.monotonic() - began))
            shutil.copystat(path, copy)
        refuse_held(palace)
        _refuse_changed(palace, before)
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        where, what = error.filename or target, error.strerror or str(error)
        raise (RefusedError if error.errno in _FULL else LabError)(
            f"the copy was given up: {where}: {what}; the palace is as it was: name a folder with "
            f"{size(2 * total)} of room, half of it for the mending"
        ) from None
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return total


def _make(target: Path) -> None:
    try:
        target.mkdir()
    except OSError as error:
        raise (RefusedError if error.errno in _FULL else UsageError)(
            f"{target} cannot be made ({error.strerror}): name a new folder elsewhere"
        ) from None


def _refuse_changed(palace: Path, before: Mapping[str, tuple[int, ...]]) -> None:
    if stamps(palace) != before:
        raise LabError(f"{palace} changed while it was copied: stop what uses it, then ask again")


def mend_copy(
    copy: Path, environment: Environment, tell: Tell, *, deadline_s: float = DEADLINE_S
) -> Mended:
    """Let the library open the copy with one release of chromadb.

    Raises `LabError` where its process died or was refused, `RefusedError` where there was no room
    for what it writes, and `DeadlineError`; the copy is removed then, for it is neither as it was
    nor mended.
    """
    try:
        return _mended(copy, environment, tell, deadline_s)
    except BaseException:
        shutil.rmtree(copy, ignore_errors=True)
        raise


def _mended(copy: Path, environment: Environment, tell: Tell, deadline_s: float) -> Mended:
    with scratch_directory() as scratch:
        root = make_import_root(scratch.path / "root")
        told = scratch.path / "said"
        with told.open("wb") as sink:
            process = subprocess.Popen(
                [str(environment.python), "-m", "palace_store.mend", str(copy)],
                env={
                    **os.environ,
                    RUN_VARIABLE: scratch.run_id,
                    "TMPDIR": str(scratch.path),
                    "PYTHONPATH": str(root),
                    "ANONYMIZED_TELEMETRY": "False",
                },
                cwd=scratch.path,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=sink,
            )
            try:
                answer = watch(process, tell, deadline_s, f"mending {copy}")
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait()
        said = told.read_text(encoding="utf-8", errors="replace")
    lines = _told(said, copy)
    if process.returncode < 0:
        ended = f"was killed by {signal.Signals(-process.returncode).name}"
        raise LabError(f"the process that opened {copy} {ended}; {_GONE}")
    if process.returncode or not answer:
        why = lines[-1] if lines else f"it ended with code {process.returncode}"
        if process.returncode == NO_ROOM:
            raise RefusedError(f"no room for the copy while it was mended: {why}; {_NO_ROOM}")
        raise LabError(f"{copy} could not be mended: {why}; {_GONE}")
    found = json.loads(answer)
    return Mended(
        {name: each["rows"] for name, each in found.items()},
        {name: tuple(each["unfindable"]) for name, each in found.items()},
        lines,
    )


def _told(said: str, copy: Path) -> tuple[str, ...]:
    """Return what the library logged, each sentence once and bounded."""
    lines = (line.removeprefix(f"{copy}: ").replace(f"{copy}/", "") for line in said.splitlines())
    shown = [one_line(line, characters_max=_LINE_MAX) for line in lines if line.strip()]
    return tuple(dict.fromkeys(shown))[-_LINES_MAX:]


def _files(palace: Path) -> Iterator[Path]:
    """Yield every file below the palace; `UsageError` for what cannot be copied as one."""
    for directory, folders, names in os.walk(palace):
        for name in [*folders, *names]:
            path = Path(directory, name)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode) or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise UsageError(
                    f"{path} is neither a file nor a folder: put in its place what it stands for, "
                    "in a copy of the palace, and mend that"
                )
        yield from (Path(directory, name) for name in names)


def _progress(done: int, total: int, seconds: float) -> str:
    rate = done / seconds if seconds > 0 else 0.0
    left = f", {duration((total - done) / rate)} left" if rate else ""
    return f"copied {size(done)} of {size(total)}, {size(round(rate))}/s{left}"
