"""The system calls a crash point can name, per architecture, and where their files are told.

Rules: numbers come from the kernel's own headers (asm/unistd_64.h, asm-generic/unistd.h); a test
compares them where the headers are installed. Paths are as the worker means them: absolute,
normalised, without following symbolic links.
"""

from __future__ import annotations

import posixpath
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from palace_lab.processes import ptrace
from palace_lab.processes.points import FAMILIES

_AT_FDCWD = -100
_DELETED = " (deleted)"
_IOV_MAX = 1024

#: name -> numbers on (x86-64, aarch64); None where the architecture does not have it.
_NUMBERS: Mapping[str, tuple[int | None, int | None]] = {
    "write": (1, 64),
    "writev": (20, 66),
    "pwrite64": (18, 68),
    "pwritev": (296, 70),
    "pwritev2": (328, 287),
    "open": (2, None),
    "openat": (257, 56),
    "openat2": (437, 437),
    "creat": (85, None),
    "ftruncate": (77, 46),
    "truncate": (76, 45),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "close": (3, 57),
}

#: Which arguments are paths: (argument of the directory or None, argument of the path).
_PATHS: Mapping[str, tuple[tuple[int | None, int], ...]] = {
    "open": ((None, 0),),
    "openat": ((0, 1),),
    "openat2": ((0, 1),),
    "creat": ((None, 0),),
    "truncate": ((None, 0),),
    "rename": ((None, 0), (None, 1)),
    "renameat": ((0, 1), (2, 3)),
    "renameat2": ((0, 1), (2, 3)),
    "unlink": ((None, 0),),
    "unlinkat": ((0, 1),),
}

_SIZE_ARGUMENT: Mapping[str, int] = {"write": 2, "pwrite64": 2, "ftruncate": 1, "truncate": 1}
_VECTORS = frozenset({"writev", "pwritev", "pwritev2"})


@dataclass(frozen=True)
class Call:
    """One system call of this architecture."""

    name: str
    family: str
    number: int

    def paths(self, tid: int, args: tuple[int, ...]) -> list[str]:
        """Return the absolute paths a stopped thread's call is about; none for a socket or pipe."""
        if self.name not in _PATHS:
            found = _fd_path(tid, _signed(args[0]))
            return [found] if found.startswith("/") else []
        return [
            path
            for directory, argument in _PATHS[self.name]
            if (path := _argument_path(tid, args, directory, argument))
        ]

    def size_bytes(self, tid: int, args: tuple[int, ...]) -> int:
        """Return the bytes a write asks to write, or the length a truncate asks for, else 0."""
        if self.name in _SIZE_ARGUMENT:
            return args[_SIZE_ARGUMENT[self.name]]
        if self.name in _VECTORS:
            data = ptrace.read_memory(tid, args[1], 16 * min(args[2], _IOV_MAX))
            return sum(length for _, length in struct.iter_unpack("@QQ", data[: len(data) & ~15]))
        return 0


def table(machine: str, families: frozenset[str]) -> dict[int, Call]:
    """Return the calls of those families on that architecture, by number."""
    column = ("x86_64", "aarch64").index(machine)
    return {
        number: Call(name, family, number)
        for family in families
        for name in FAMILIES[family]
        if (number := _NUMBERS[name][column]) is not None
    }


def _signed(value: int) -> int:
    return (value & 0xFFFFFFFF) - ((value & 0x80000000) << 1)


def _fd_path(tid: int, fd: int) -> str:
    try:
        path = str(Path(f"/proc/{tid}/fd/{fd}").readlink())
    except OSError:
        return ""  # not an open descriptor: the call is about to fail with EBADF
    return path.removesuffix(_DELETED)


def _argument_path(tid: int, args: tuple[int, ...], directory: int | None, argument: int) -> str:
    path = ptrace.read_string(tid, args[argument])
    if not path:
        return ""
    if not path.startswith("/"):
        fd = _AT_FDCWD if directory is None else _signed(args[directory])
        try:
            base = (
                str(Path(f"/proc/{tid}/cwd").readlink()) if fd == _AT_FDCWD else _fd_path(tid, fd)
            )
        except OSError:
            return ""
        path = f"{base}/{path}"
    # posixpath keeps two leading slashes; a kernel does not.
    return posixpath.normpath("/" + path.lstrip("/"))
