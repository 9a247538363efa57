"""What happens inside a worker: between its fork and its entry, and at its end.

Rules: the entry ``package.module:function`` is called as ``function(channel, config)``. It starts
without faulthandler, in a session of its own, with stdin closed off and output in the worker's log.
A worker ends by `os._exit`, as forked children do: no atexit handler runs and no thread is waited
for, so an entry closes what must be closed.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from palace_lab.processes import kernel, ptrace, seccomp, syscalls
from palace_lab.processes.exits import CRASH_CODE
from palace_lab.processes.wire import Channel

_LIMITS: Mapping[str, int] = {
    "file_size_bytes": resource.RLIMIT_FSIZE,
    "memory_bytes": resource.RLIMIT_AS,
    "cpu_s": resource.RLIMIT_CPU,
}
#: Signals whose handlers a host or shepherd changed; a worker starts with the usual ones.
_RESET = (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP)


def run(request: Mapping[str, Any], channel_fd: int, go_fd: int, parent: int) -> NoReturn:
    """Become the worker described by `request`; never returns."""
    code = CRASH_CODE
    channel = Channel(channel_fd)
    try:
        _prepare(request, go_fd, parent)
        entry = load(request["entry"])
        _filter(request.get("families") or [])
        _limit(request.get("limits") or {})
        entry(channel, request["config"])
        code = 0
    except SystemExit as error:
        code = _exit_code(error)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:  # noqa: BLE001 - whatever ends an entry is told, then ends the process
        text = traceback.format_exc()
        print(text, file=sys.stderr)
        with contextlib.suppress(OSError, ValueError):
            channel.send({"crash": text})
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def load(entry: str) -> Callable[[Channel, dict[str, Any]], object]:
    """Return the function an entry names; raises ImportError or AttributeError."""
    module, _, function = entry.partition(":")
    found: Callable[[Channel, dict[str, Any]], object] = getattr(
        importlib.import_module(module), function
    )
    return found


def _prepare(request: Mapping[str, Any], go_fd: int, parent: int) -> None:
    for number in _RESET:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    kernel.die_with_parent(parent)
    kernel.allow_inspection()
    os.setsid()
    os.chdir(request["cwd"])
    log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(log)
    os.close(null)
    for stream in (sys.stdout, sys.stderr):
        # Line by line, so that the log of a killed worker ends where the worker ended.
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # both are text files
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The shepherd writes here once it has attached; it closes it without a word if it could not.
    if not os.read(go_fd, 1):
        os._exit(CRASH_CODE)
    os.close(go_fd)


def _filter(families: list[str]) -> None:
    if families:
        machine = ptrace.machine()
        calls = syscalls.table(machine, frozenset(families))
        seccomp.install(machine, seccomp.program(machine, calls))


def _limit(limits: Mapping[str, int | None]) -> None:
    for name, value in limits.items():
        if value is not None:
            which = _LIMITS[name]
            # A second between SIGXCPU, which says why, and the SIGKILL that does not.
            hard = value + 1 if which == resource.RLIMIT_CPU else value
            resource.setrlimit(which, (value, hard))


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    print(error.code, file=sys.stderr)
    return 1
