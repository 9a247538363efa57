"""The host: one process per environment, with the library imported, that forks the workers.

Rules: it runs by the environment's own interpreter and holds no client, for a process that holds
one cannot be forked safely. Lab code comes from the import roots, everything
else from the environment. It lives as long as the thread of main that started it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import importlib.util
import os
import platform
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from palace_lab.processes import kernel, seccomp, shepherd
from palace_lab.processes.wire import Channel, Message

#: What main runs with ``ENV_PYTHON -s -c``; arguments: control descriptor, pid of main, roots.
#: Not ``-I``: that would also ignore PYTHONHASHSEED. What else it keeps out is kept out here (the
#: current directory) and by main, which makes the whole environment of a host itself.
#: palace_lab is taken from the first root even where the environment has one installed.
BOOTSTRAP = """\
import sys
if not sys.path[0]: del sys.path[0]
sys.path.insert(0, sys.argv[3])
import palace_lab
del sys.path[0]
sys.path += sys.argv[3:]
from palace_lab.processes.host import main
main(int(sys.argv[1]), int(sys.argv[2]))
"""

_FD_S = 10.0


def main(control_fd: int, main_pid: int) -> NoReturn:
    """Serve main's requests until it is gone; never returns."""
    kernel.die_with_parent(main_pid)
    kernel.become_subreaper()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.disable()
    _Host(Channel(control_fd), main_pid).serve()
    # Reaped here, for as orphans they would become main's children, which nobody waits for.
    shepherd.kill_descendants()
    os._exit(0)


class _Host:
    """The state of `main`."""

    def __init__(self, control: Channel, main_pid: int) -> None:
        self._control = control
        self._main = main_pid
        self._wake_fds = shepherd.wake_on_child()
        self._seccomp_refusal: str | None = None
        self._seccomp_tried = False

    def serve(self) -> None:
        poll = select.poll()
        poll.register(self._control.fileno(), select.POLLIN)
        poll.register(self._wake_fds[0], select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self._wake_fds[0]:
                    shepherd.drain(fd)
                    continue
                try:
                    self._control.send(self._answer(self._control.receive()))
                except (EOFError, OSError):
                    return
            reap()

    def _answer(self, message: Message) -> Message:
        if "preload" in message:
            return {"ready": preload(message["preload"])}
        request = message["launch"]
        channel_fd = self._control.receive_fd(_FD_S)
        watch_fd = self._control.receive_fd(_FD_S)
        try:
            return self._launch(request, channel_fd, watch_fd)
        except OSError as error:
            return {"refused": f"the host could not fork: {error}"}
        finally:
            os.close(channel_fd)
            os.close(watch_fd)

    def _launch(self, request: Message, channel_fd: int, watch_fd: int) -> Message:
        request["host"] = os.getpid()
        request["main"] = self._main
        request["families"] = []
        if request["trace"] and request["tracing"] != "syscall":
            refusal = self._seccomp()
            if refusal is None:
                request["families"] = request["trace"]
            elif request["tracing"] == "seccomp":
                return {"refused": f"seccomp filters are not available here: {refusal}"}
        # Not multiprocess.Process: it keeps two pipes for each live child, and every worker forked
        # later would inherit those of its siblings.
        pid = os.fork()
        if pid == 0:
            _become_shepherd(request, channel_fd, watch_fd, self._release)
        mode = "seccomp" if request["families"] else "syscall"
        return {"launched": pid, "tracing": mode if request["trace"] else None}

    def _seccomp(self) -> str | None:
        if not self._seccomp_tried:
            self._seccomp_refusal = seccomp.refusal()
            self._seccomp_tried = True
        return self._seccomp_refusal

    def _release(self) -> None:
        """Close, in a forked shepherd, what only the host may hold."""
        self._control.close()
        signal.set_wakeup_fd(-1)
        for fd in self._wake_fds:
            os.close(fd)


def _become_shepherd(
    request: Message, channel_fd: int, watch_fd: int, release: Callable[[], None]
) -> NoReturn:
    try:
        shepherd.tend(request, channel_fd, watch_fd, release)
    except BaseException:  # noqa: BLE001 - nothing of a shepherd may run on as a second host
        traceback.print_exc()
    finally:
        os._exit(0)


def reap() -> None:
    """Take note of ended shepherds, and of orphans of those that were killed."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def preload(names: Sequence[str]) -> Message:
    """Import the modules this environment has; return what a report should say about it."""
    started = time.perf_counter()
    loaded, missing, failed = [], [], {}
    for name in names:
        try:
            if importlib.util.find_spec(name) is None:
                missing.append(name)
                continue
            importlib.import_module(name)
            loaded.append(name)
        except ModuleNotFoundError as error:
            if "." in name:
                # A part this release does not have, or left behind without what it needs: 1.x
                # still holds 0.6's segment modules, but brings no hnswlib.
                missing.append(name)
            else:
                failed[name] = str(error)
        except Exception as error:  # noqa: BLE001 - an import may raise anything; main decides
            failed[name] = f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - started
    gc.collect()
    gc.freeze()  # what is here now is shared with the workers and not to be touched by their gc
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "loaded": loaded,
        "missing": missing,
        "failed": failed,
        "preload_s": round(seconds, 3),
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "palace_lab": _origin("palace_lab"),
        "palace_store": _origin("palace_store"),
    }


def _origin(name: str) -> str | None:
    with contextlib.suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(name)
        return spec.origin if spec else None
    return None
