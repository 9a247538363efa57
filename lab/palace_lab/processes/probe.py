"""Whether this machine lets a parent trace its child, tried on a throwaway child.

Rules: the trial runs in a small process of its own, since it forks and main may have threads; the
answer is a sentence, or nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from palace_lab.processes import kernel, ptrace

_TRY_S = 15.0
_BOOTSTRAP = (
    "import sys; sys.path.append(sys.argv[1]); from palace_lab.processes.probe import main; main()"
)


@lru_cache(maxsize=1)
def tracing_available() -> str | None:
    """Return why crash points cannot work here, None if they can; tried for real, once."""
    lab = Path(__file__).resolve().parents[2]
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _BOOTSTRAP, str(lab)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TRY_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"tracing could not be tried on this machine: {error}"
    return done.stdout.strip() or None


def refusal() -> str | None:
    """Return why crash points cannot work here, None if they can."""
    try:
        ptrace.machine()
        _try()
    except OSError as error:
        return (
            f"this machine does not let a process trace its own child ({error}); crash points need "
            f"Linux 5.3 or later, kernel.yama.ptrace_scope below 3 and, in a container, ptrace "
            f"allowed by its seccomp profile"
        )
    return None


def _try() -> None:
    me = os.getpid()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        kernel.die_with_parent(me)
        os.read(read, 1)
        os._exit(0)
    try:
        ptrace.seize(child)
        ptrace.interrupt(child)
        _expect(child, lambda status: status >> 16 == ptrace.EVENT_STOP)
        ptrace.resume(child, ptrace.SYSCALL)
        os.write(write, b"g")
        _expect(child, lambda status: os.WSTOPSIG(status) == ptrace.SYSCALL_TRAP)
        stop = ptrace.call_stop(child)
        if stop.op not in {ptrace.OP_ENTRY, ptrace.OP_EXIT}:
            raise OSError(f"PTRACE_GET_SYSCALL_INFO answered {stop.op}")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _expect(child: int, met: Callable[[int], bool]) -> None:
    _, status = os.waitpid(child, 0)
    if not os.WIFSTOPPED(status) or not met(status):
        raise OSError(f"an unexpected wait status {status:#x} came")


def main() -> None:
    """Print the refusal, if any."""
    sys.stdout.write(refusal() or "")
