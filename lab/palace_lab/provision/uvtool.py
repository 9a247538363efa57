"""Running uv and pip: within a bound of time, with news on the way, failing in one sentence.

Rules. Their output is kept from the terminal; what fails says what is wrong, where, and what to
do next. A full disk is told by path and free bytes, whatever reached it first.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from palace_lab.errors import RefusedError

Progress = Callable[[str], None]

#: Said after these many seconds without news, then at the last interval again and again.
_HEARTBEAT_SECONDS = (2.0, 5.0, 10.0, 20.0, 30.0)

_CAUSES_MAX = 3


@dataclass(frozen=True)
class Uv:
    """The uv binary together with the surroundings it is run in."""

    binary: Path
    environment: Mapping[str, str]

    def run(
        self,
        arguments: Sequence[str],
        *,
        doing: str,
        into: Path,
        seconds_max: float,
        progress: Progress,
        keep_open: Sequence[int] = (),
    ) -> str:
        """Run uv to its end and return what it printed on its standard output.

        `doing` begins the sentences for the user, `into` is the directory that the failure of a
        disk is reported for, `keep_open` are descriptors uv inherits, such as a lock that must
        outlive us. Raises `RefusedError` when uv fails or is not done after `seconds_max`.
        """
        return run_installer(
            [str(self.binary), "--no-progress", *arguments],
            environment=self.environment,
            doing=doing,
            into=into,
            seconds_max=seconds_max,
            progress=progress,
            keep_open=keep_open,
        )


def run_installer(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    doing: str,
    into: Path,
    seconds_max: float,
    progress: Progress,
    keep_open: Sequence[int] = (),
) -> str:
    """Run uv or pip as `Uv.run` describes, in the environment variables given."""
    with (
        # Not files on a disk: a full disk is one of the things to report.
        os.fdopen(os.memfd_create("stdout"), "rb") as stdout,
        os.fdopen(os.memfd_create("stderr"), "rb") as stderr,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=dict(environment),
            cwd=nearest_directory(into),
            pass_fds=tuple(keep_open),
        ) as process,
    ):
        try:
            _attend(process, stderr.fileno(), doing, seconds_max, progress)
        except BaseException:
            process.kill()
            process.wait()
            raise
        complaint = _text(stderr.fileno())
        if process.returncode != 0:
            raise explain(complaint, doing=doing, into=into)
        for withdrawn in re.findall(r"^warning: (.* is yanked)", complaint, re.MULTILINE):
            progress(f"{doing}: the index says {withdrawn} by its authors")
        return _text(stdout.fileno())


def silent(_sentence: str) -> None:
    """Take a sentence of progress and say nothing."""


def nearest_directory(path: Path) -> Path:
    """Return the path itself, or the first directory above it that is there for this user."""
    for candidate in (path, *path.parents):
        if os.path.isdir(candidate):  # noqa: PTH112  (Path.is_dir raises where it may not look)
            return candidate
    return Path("/")


def refuse_os_error(error: OSError, path: Path) -> RefusedError:
    """Turn a failure of disk or permission into one sentence with path and free bytes."""
    reason = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
    return _refuse_disk(reason, path)


def explain(complaint: str, *, doing: str, into: Path) -> RefusedError:
    """Turn what uv printed when it failed into one sentence that says what to do next."""
    flat = " ".join(complaint.split())
    if "os error 28" in flat or "No space left on device" in flat:
        return _refuse_disk("the disk is full", _fullest(into))
    if disk := re.search(r"(Permission denied|Read-only file system|Not a directory)", flat):
        return _refuse_disk(disk.group(1), into)
    if wheel := re.search(r"Because ([\w.\-]+==\S+) has no (?:usable )?wheels", flat):
        return RefusedError(
            f"{doing}: {wheel.group(1)} has no wheel for this Python and processor, and nothing "
            "is compiled here; use another Python version, or a release that has one"
        )
    if re.search(r"network was disabled|offline", flat, re.IGNORECASE):
        return RefusedError(
            f"{doing}: a needed file is not in uv's cache and the network is switched off; "
            "run the same once with the network on"
        )
    if re.search(r"dns error|error sending request|client error|timed out|Retrying \(", flat):
        return RefusedError(
            f"{doing}: the server to download from cannot be reached ({_causes(complaint)}); "
            "check the network, or name a mirror in PIP_INDEX_URL or UV_DEFAULT_INDEX"
        )
    return RefusedError(f"{doing} failed: {_causes(complaint)}")


def _attend(
    process: subprocess.Popen[bytes],
    stderr: int,
    doing: str,
    seconds_max: float,
    progress: Progress,
) -> None:
    begun = time.monotonic()
    beat = 0
    while True:
        interval = _HEARTBEAT_SECONDS[min(beat, len(_HEARTBEAT_SECONDS) - 1)]
        left = begun + seconds_max - time.monotonic()
        if left <= 0:
            raise RefusedError(
                f"{doing}: uv was not done after {seconds_max:.0f} s and was stopped; "
                "check the network, then try again"
            )
        try:
            process.wait(timeout=min(interval, left))
        except subprocess.TimeoutExpired:
            beat += 1
            lines = [line.strip() for line in _text(stderr).splitlines()]
            news = [line for line in lines if line and not line.lower().startswith("warning")]
            latest = news[-1] if news else ""
            seconds = time.monotonic() - begun
            progress(f"{doing}: {seconds:.0f} s so far" + (f" ({latest})" if latest else ""))
        else:
            return


def _text(descriptor: int) -> str:
    """Read all of a file without moving the offset its writer shares with us."""
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")


def _causes(complaint: str) -> str:
    """Shorten uv's chain of causes to its first and last links."""
    lines = [" ".join(line.split()) for line in complaint.splitlines()]
    told = [line for line in lines if line.startswith(("error: ", "cause: ", "ERROR: "))]
    told = [line.partition(": ")[2] for line in told] or [line for line in lines if line][-1:]
    kept = told if len(told) <= _CAUSES_MAX else [told[0], *told[1 - _CAUSES_MAX :]]
    return "; ".join(kept) or "it gave no reason"


def _refuse_disk(reason: str, path: Path) -> RefusedError:
    free_bytes = shutil.disk_usage(nearest_directory(path)).free
    return RefusedError(
        f"cannot write {path}: {reason} ({free_bytes:,} bytes are free there); make room or "
        "permit it (PALACE_LAB_HOME moves the environments, UV_CACHE_DIR moves uv's cache)"
    )


def _fullest(into: Path) -> Path:
    """Return which of the two places uv writes to has less room left."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = Path(os.environ.get("UV_CACHE_DIR") or caches / "uv")
    return min((into, cache), key=lambda path: shutil.disk_usage(nearest_directory(path)).free)
