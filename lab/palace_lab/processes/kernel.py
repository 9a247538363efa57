"""The few Linux calls that Python's standard library does not offer everywhere.

Rules: ctypes only, no package; an error is an `OSError` with the kernel's errno. pidfd calls go
through `syscall(2)` because some Python builds were compiled against headers too old to know them;
their numbers are the same on every architecture.
"""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
LIBC.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_PTRACER = 0x59616D61
_PR_SET_PTRACER_ANY = ctypes.c_ulong(-1).value
_SYS_PIDFD_SEND_SIGNAL = 424
_SYS_PIDFD_OPEN = 434


def check(result: int, what: str) -> int:
    """Return `result`, or raise the errno of the call just made if it is -1."""
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _prctl(option: int, value: int, what: str) -> None:
    check(LIBC.prctl(option, value, 0, 0, 0), what)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that made it ends.

    `parent` is the process expected to be the parent: if it is gone already, the signal would
    never come, so this process ends at once.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, "PR_SET_PDEATHSIG")
    if os.getppid() != parent:
        os._exit(1)


def become_subreaper() -> None:
    """Make orphaned descendants children of this process instead of init's."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, "PR_SET_CHILD_SUBREAPER")


def no_new_privileges() -> None:
    """Give up gaining privileges by exec, which an unprivileged seccomp filter needs."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1, "PR_SET_NO_NEW_PRIVS")


def allow_inspection() -> None:
    """Let any process of this user look at this one, which Yama's default forbids to py-spy."""
    LIBC.prctl(_PR_SET_PTRACER, _PR_SET_PTRACER_ANY, 0, 0, 0)  # EINVAL where there is no Yama


def pidfd_open(pid: int) -> int:
    """Return a close-on-exec descriptor of the process: it can never mean another one."""
    result: int = LIBC.syscall(ctypes.c_long(_SYS_PIDFD_OPEN), ctypes.c_int(pid), ctypes.c_uint(0))
    return check(result, f"pidfd_open({pid})")


def pidfd_signal(pidfd: int, number: int) -> bool:
    """Send a signal to that process; False if it has ended."""
    result: int = LIBC.syscall(
        ctypes.c_long(_SYS_PIDFD_SEND_SIGNAL),
        ctypes.c_int(pidfd),
        ctypes.c_int(number),
        ctypes.c_void_p(None),
        ctypes.c_uint(0),
    )
    try:
        check(result, "pidfd_send_signal")
    except ProcessLookupError:
        return False
    return True


def children(parent: int) -> list[int]:
    """Return the direct children of a process, zombies included."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text(errors="replace")
            except OSError:
                continue  # ended while we were looking
            # The command name in parentheses may hold anything, so count from the last ')'.
            if int(stat.rpartition(")")[2].split()[1]) == parent:
                found.append(int(entry.name))
    return found
