"""The janitor: a tiny process of its own that cleans up after a main that was killed.

Rules: it learns of main's end by the end of a pipe. It signals only processes whose environment
says that they belong to this run, through a pidfd, and removes only the one directory it was given,
if that holds this run's marker. On a normal end main does the work and the janitor just leaves.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

from palace_lab.processes import kernel

PREFIX = "palace-lab-"
MARKER = ".palace-lab-scratch"
RUN_VARIABLE = "PALACE_LAB_RUN"

#: Hosts, shepherds and workers die with main by the kernel's hand; this long it is left to that.
_GRACE_S = 1.0
_KILL_S = 10.0
_LOOK_EVERY_S = 0.02
_DISMISS_S = 10.0
_NOT_FOR_US = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DISMISSED = b"dismissed"

_BOOTSTRAP = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from palace_lab.processes.janitor import main; main(sys.argv[2], sys.argv[3])"
)


class Janitor:
    """Main's handle on its janitor."""

    def __init__(self, directory: Path, run_id: str) -> None:
        """Start a janitor for the run and its scratch directory."""
        lab = Path(__file__).resolve().parents[2]
        # A process begins with the blocked signals of the thread that starts it: so there is no
        # moment at which a signal meant for the run could end its janitor.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_FOR_US)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _BOOTSTRAP, str(lab), str(directory), run_id],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={},
                cwd="/",
                start_new_session=True,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @property
    def pid(self) -> int:
        """The janitor's process id."""
        return self._process.pid

    def dismiss(self) -> None:
        """Tell the janitor that there is nothing to do, and wait until it has gone."""
        with contextlib.suppress(BrokenPipeError, subprocess.TimeoutExpired):
            self._process.communicate(_DISMISSED, timeout=_DISMISS_S)
        self._process.kill()
        self._process.wait()


def main(directory: str, run_id: str) -> None:
    """Wait for main's end, then clean up unless it dismissed us."""
    if sys.stdin.buffer.read() != _DISMISSED:
        end_processes(Path(directory), run_id)
        remove(Path(directory), run_id)


def end_processes(directory: Path, run_id: str) -> None:
    """Wait until no process of the run is left, killing those that do not go by themselves."""
    started = time.monotonic()
    while time.monotonic() - started < _GRACE_S + _KILL_S:
        ours = [pid for pid in _processes() if _belongs(pid, directory, run_id)]
        if not ours:
            return
        if time.monotonic() - started > _GRACE_S:
            for pid in ours:
                _kill(pid, directory, run_id)
        time.sleep(_LOOK_EVERY_S)  # they are nobody's children here, so nothing tells of their end


def remove(directory: Path, run_id: str) -> bool:
    """Remove the scratch directory of that run; False if `directory` is not it."""
    try:
        marked = (directory / MARKER).read_text().strip()
    except OSError:
        return False
    if marked != run_id or not directory.name.startswith(PREFIX):
        return False
    remove_tree(directory)
    return True


def remove_tree(directory: Path) -> None:
    """Remove a directory of the lab with all in it, also what a fault made unwritable."""
    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        directory.chmod(stat.S_IRWXU)
        for place, names, _ in os.walk(directory):
            for path in (Path(place, name) for name in names):
                if not path.is_symlink():
                    path.chmod(stat.S_IRWXU)
        shutil.rmtree(directory, ignore_errors=True)


def _processes() -> list[int]:
    me = os.getpid()
    names = (place.name for place in Path("/proc").iterdir())
    return [int(name) for name in names if name.isdigit() and int(name) != me]


def _belongs(pid: int, directory: Path, run_id: str) -> bool:
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False  # ended, or another user's
    home = b"HOME=" + os.fsencode(directory) + b"/"
    return f"{RUN_VARIABLE}={run_id}".encode() in variables or any(
        variable.startswith(home) for variable in variables
    )


def _kill(pid: int, directory: Path, run_id: str) -> None:
    with contextlib.suppress(OSError):
        pidfd = kernel.pidfd_open(pid)
        try:
            # Looked at again: between the first look and here the pid may have changed hands.
            if _belongs(pid, directory, run_id):
                kernel.pidfd_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)
