"""Crash points: at which system call of a worker something happens, and what.

Rules: a point is (syscall family, file pattern, k). k counts the matching calls of all threads and
children of the worker, from the moment the point is armed. Patterns are `fnmatch` patterns (case
matters, ``*`` also matches ``/``) against absolute paths: for a file descriptor the path the kernel
shows for it, for a path argument the argument made absolute, symbolic links not resolved. What a
program writes through `mmap` or io_uring makes no such call and is not seen.
"""

from __future__ import annotations

import errno
import fnmatch
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Action = Literal["die", "wait", "fail", "slow", "record"]

#: Every family with the system calls it stands for. A rename matches by either path.
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "write": ("write", "writev", "pwrite64", "pwritev", "pwritev2"),
    "open": ("open", "openat", "openat2", "creat"),
    "truncate": ("ftruncate", "truncate"),
    "fsync": ("fsync", "fdatasync"),
    "rename": ("rename", "renameat", "renameat2"),
    "unlink": ("unlink", "unlinkat"),
    "close": ("close",),
}

#: How long a held thread waits for an answer before its worker is killed, in seconds.
HOLD_S_DEFAULT = 30.0


@dataclass(frozen=True)
class CrashPoint:
    """One place where a worker is killed, held, refused a call, slowed down, or only watched.

    die: SIGKILL of the whole worker at entry of the k-th matching call, which has no effect; the
    k - 1 before it have returned. wait: that thread is held at entry until `Worker.resume`; other
    threads go on. fail: the call is not executed and returns -`errno`; so do the `repeat` - 1
    matching calls after it (`repeat` None: all after it). slow: that thread waits `delay_s` seconds
    at entry and goes on by itself, in `repeat` calls; hits are not told. record: no effect, every
    matching call is listed and k is not looked at.
    """

    syscall: str
    pattern: str
    k: int = 1
    action: Action = "die"
    errno: str = "EIO"
    repeat: int | None = 1
    hold_s: float = HOLD_S_DEFAULT
    delay_s: float = 0.0

    def __post_init__(self) -> None:
        if self.syscall not in FAMILIES:
            known = ", ".join(FAMILIES)
            raise ValueError(f"there is no crash point at {self.syscall!r}; choose from: {known}")
        if not self.pattern or self.pattern[0] not in "/*?[":
            raise ValueError(
                f"pattern {self.pattern!r} can match no absolute path; write '*/{self.pattern}'"
            )
        if self.k < 1:
            raise ValueError(f"k is {self.k}, but the first matching call is k=1")
        if self.action not in get_args(Action):
            known = ", ".join(get_args(Action))
            raise ValueError(f"there is no action {self.action!r}; choose from: {known}")
        if self.errno not in _ERRNOS:
            raise ValueError(f"{self.errno!r} is not the name of an errno, such as 'ENOSPC'")
        if self.repeat is not None and self.repeat < 1:
            raise ValueError(f"repeat is {self.repeat}; use a number from 1, or None for all")
        if self.hold_s <= 0:
            raise ValueError(f"hold_s is {self.hold_s}; a held thread needs a time above 0 s")
        if (self.delay_s > 0) != (self.action == "slow"):
            raise ValueError(
                f"delay_s is {self.delay_s}: 'slow' needs a time above 0 s, others none"
            )

    def matcher(self) -> re.Pattern[str]:
        """Return the pattern compiled: its `match` tells whether a path is meant."""
        return re.compile(fnmatch.translate(self.pattern))

    def to_wire(self) -> dict[str, Any]:
        """Return the point as plain data."""
        return asdict(self)

    @classmethod
    def from_wire(cls, data: Mapping[str, Any]) -> CrashPoint:
        """Read back what `to_wire` wrote."""
        return cls(**data)


@dataclass(frozen=True)
class Hit:
    """One matching call, seen at its entry: for a die or fail point it had no effect.

    `syscall` is the call's own name ("pwrite64"), `path` is relative to the launch's root where it
    lies beneath it, `thread` numbers the worker's threads and children in the order they appeared
    (0 is the main thread), `size_bytes` is what a write asked to write or the length a truncate
    asked for, else 0. `ident` numbers the hits of one worker that were told or held. `exact` is
    False if earlier matching calls had not returned within the tracer's patience.
    """

    syscall: str
    path: str
    k: int
    action: Action
    thread: int
    size_bytes: int
    ident: int = 0
    exact: bool = True

    @property
    def rank(self) -> int:
        """Which of several points reached by one call acts: the lowest."""
        return get_args(Action).index(self.action)

    def to_wire(self) -> dict[str, Any]:
        """Return the hit as plain data."""
        return asdict(self)

    @classmethod
    def from_wire(cls, data: Mapping[str, Any]) -> Hit:
        """Read back what `to_wire` wrote."""
        return cls(**data)


_ERRNOS = frozenset(errno.errorcode.values())
