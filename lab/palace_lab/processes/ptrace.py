"""ptrace through ctypes: the requests the tracer makes, for x86-64 and aarch64.

Rules: a request that fails raises OSError; ESRCH means that the thread was killed meanwhile and
its end will be reported by wait. Every request must come from the thread that attached.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
from dataclasses import dataclass

from palace_lab.processes import kernel

_GETEVENTMSG, _SEIZE, _INTERRUPT, _LISTEN = 0x4201, 0x4206, 0x4207, 0x4208
_GETREGSET, _SETREGSET, _SYSCALL_INFO, _POKEUSER = 0x4204, 0x4205, 0x420E, 6

#: How a stopped thread is resumed: at full speed, or with a stop at the next call's edge.
CONT, SYSCALL = 7, 24

EVENT_EXEC, EVENT_SECCOMP, EVENT_STOP = 4, 7, 128
#: The signal a stop at a call's edge shows, thanks to TRACESYSGOOD.
SYSCALL_TRAP = signal.SIGTRAP | 0x80
#: SYSGOOD, FORK, VFORK, CLONE, EXEC, SECCOMP, EXITKILL
_OPTIONS = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x80 | 0x100000

OP_ENTRY, OP_EXIT, OP_SECCOMP = 1, 2, 3
_INFO_BYTES = 88
_INFO = ctypes.create_string_buffer(_INFO_BYTES)
_INFO_CALL = struct.Struct("@B3xIQQ7Q")

_RAX, _ORIG_RAX = 80, 120  # offsets in x86-64's struct user
_NT_PRSTATUS, _NT_ARM_SYSTEM_CALL = 1, 0x404
_ARM_REGS_BYTES = 272  # 31 registers, sp, pc, pstate
_PATH_BYTES_MAX = 4096
_PAGE = os.sysconf("SC_PAGESIZE")

LIBC_PTRACE = kernel.LIBC.ptrace
LIBC_PTRACE.restype = ctypes.c_long
LIBC_PTRACE.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


@dataclass(frozen=True)
class CallStop:
    """What a thread stopped at: `op` (OP_*), the call's number and its six arguments."""

    op: int
    number: int
    args: tuple[int, ...]


def machine() -> str:
    """Return "x86_64" or "aarch64"; raises OSError elsewhere."""
    name = platform.machine()
    if name not in {"x86_64", "aarch64"} or struct.calcsize("P") != struct.calcsize("Q"):
        raise OSError(f"crash points need a 64-bit x86-64 or aarch64 process, not {name}")
    return name


def _request(what: int, tid: int, address: int | None = None, data: int | None = None) -> int:
    return kernel.check(LIBC_PTRACE(what, tid, address, data), f"ptrace({what:#x}, {tid})")


def seize(tid: int) -> None:
    """Attach without stopping; children and threads made later are attached by themselves."""
    _request(_SEIZE, tid, 0, _OPTIONS)


def interrupt(tid: int) -> None:
    """Stop a seized thread."""
    _request(_INTERRUPT, tid)


def resume(tid: int, how: int, signal_number: int = 0) -> None:
    """Let a stopped thread run on, delivering a signal to it unless 0."""
    _request(how, tid, 0, signal_number)


def listen(tid: int) -> None:
    """Leave a thread stopped by SIGSTOP stopped, until SIGCONT."""
    _request(_LISTEN, tid)


def former_tid(tid: int) -> int:
    """Return which thread called exec, at the stop that follows it."""
    value = ctypes.c_ulong()
    _request(_GETEVENTMSG, tid, None, ctypes.addressof(value))
    return value.value


def call_stop(tid: int) -> CallStop:
    """Return what the thread stopped at (Linux 5.3 or later)."""
    ctypes.memset(_INFO, 0, _INFO_BYTES)
    _request(_SYSCALL_INFO, tid, _INFO_BYTES, ctypes.addressof(_INFO))
    fields = _INFO_CALL.unpack_from(_INFO)
    return CallStop(fields[0], fields[4], fields[5:])


def skip_call(tid: int, errno_number: int) -> None:
    """At the entry of a call, have the kernel not execute it and return -`errno_number`."""
    if machine() == "x86_64":
        _request(_POKEUSER, tid, _ORIG_RAX, ctypes.c_ulong(-1).value)
        _request(_POKEUSER, tid, _RAX, ctypes.c_ulong(-errno_number).value)
        return
    _regset(_SETREGSET, tid, _NT_ARM_SYSTEM_CALL, bytearray(struct.pack("@i", -1)))
    registers = bytearray(_ARM_REGS_BYTES)
    _regset(_GETREGSET, tid, _NT_PRSTATUS, registers)
    struct.pack_into("@q", registers, 0, -errno_number)
    _regset(_SETREGSET, tid, _NT_PRSTATUS, registers)


def _regset(what: int, tid: int, kind: int, data: bytearray) -> None:
    buffer = (ctypes.c_char * len(data)).from_buffer(data)
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), len(data))
    _request(what, tid, kind, ctypes.addressof(vector))


def read_memory(tid: int, address: int, size: int) -> bytes:
    """Return up to `size` bytes of a stopped thread's memory, fewer where it is not mapped."""
    fd = os.open(f"/proc/{tid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(fd, size, address)
    except (OSError, OverflowError):
        return b""
    finally:
        os.close(fd)


def read_string(tid: int, address: int) -> str:
    """Return the path a pointer argument points to; "" if it points nowhere."""
    data = b""
    while len(data) < _PATH_BYTES_MAX:
        # Page by page: the page after the string may not exist.
        start = address + len(data)
        piece = read_memory(tid, start, _PAGE - start % _PAGE)
        text, end, _ = piece.partition(b"\0")
        data += text
        if end or not piece:
            break
    return os.fsdecode(data)
