"""A seccomp filter that stops a traced process only at the calls a crash point names.

Rules: everything else runs at full speed; a thread that is filtered but not traced would get
ENOSYS, so the tracer attaches first and the filter is then put on all threads at once. A process
cannot take its filter off again, and its children inherit it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Iterable, Mapping

from palace_lab.processes import kernel

_SYS_SECCOMP: Mapping[str, int] = {"x86_64": 317, "aarch64": 277}
_AUDIT_ARCH: Mapping[str, int] = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SET_MODE_FILTER, _FLAG_TSYNC = 1, 1
RET_TRACE, RET_ALLOW = 0x7FF00000, 0x7FFF0000

_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_OFFSET_NUMBER, _OFFSET_ARCH = 0, 4
_INSTRUCTION = struct.Struct("@HBBI")
_CALLS_MAX = 250  # a jump reaches 255 instructions
_HARMLESS = 0x3FFFFFFF  # the number of no call at all


def program(machine: str, numbers: Iterable[int]) -> bytes:
    """Return the filter: trace those calls of the native architecture, allow all else."""
    wanted = sorted(set(numbers))
    if not 0 < len(wanted) <= _CALLS_MAX:
        raise ValueError(f"a filter holds 1 to {_CALLS_MAX} calls, not {len(wanted)}")
    instructions = [
        (_LOAD, 0, 0, _OFFSET_ARCH),
        (_JUMP_EQUAL, 0, len(wanted) + 1, _AUDIT_ARCH[machine]),
        (_LOAD, 0, 0, _OFFSET_NUMBER),
    ]
    for index, number in enumerate(wanted):
        instructions.append((_JUMP_EQUAL, len(wanted) - index, 0, number))
    instructions += [(_RETURN, 0, 0, RET_ALLOW), (_RETURN, 0, 0, RET_TRACE)]
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in instructions)


def install(machine: str, code: bytes) -> None:
    """Put the filter on every thread of this process; raises OSError where that is not allowed."""
    kernel.no_new_privileges()
    buffer = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(
        struct.pack("@HxxxxxxQ", len(code) // _INSTRUCTION.size, ctypes.addressof(buffer))
    )
    result = kernel.LIBC.syscall(
        ctypes.c_long(_SYS_SECCOMP[machine]),
        ctypes.c_uint(_SET_MODE_FILTER),
        ctypes.c_uint(_FLAG_TSYNC),
        ctypes.c_void_p(ctypes.addressof(header)),
    )
    if kernel.check(result, "seccomp") != 0:
        raise OSError(f"seccomp: thread {result} of process {os.getpid()} has a filter of its own")


def refusal() -> str | None:
    """Return why this process could not be filtered, None if it could; tried on a child."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        reason = b""
        try:
            install(platform.machine(), program(platform.machine(), [_HARMLESS]))
        except (OSError, KeyError) as error:
            reason = str(error).encode() or b"unknown"
        os.write(write, reason)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read().decode()
    os.waitpid(child, 0)
    return text or None
