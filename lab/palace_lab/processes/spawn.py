"""Starting the process of a host, and asking it for things.

Rules: the environment of a host is made here and holds nothing of main's but PATH. A host that does
not answer is not asked again: its answers would no longer belong to the questions.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from palace_lab.errors import LabError, RefusedError, UsageError
from palace_lab.processes import kernel, leaks, wire
from palace_lab.processes.host import BOOTSTRAP
from palace_lab.processes.janitor import RUN_VARIABLE
from palace_lab.processes.line import ANSWER_S
from palace_lab.processes.scratch import run_id_of

_GONE_S = 15.0
_LOG_TAIL_BYTES = 2_000
_HOST_VARIABLE = "PALACE_LAB_HOST"
_FOREIGN_CODE = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE")


class HostProcess:
    """The process behind a `Host`. Its `ask` may be called from several threads."""

    def __init__(
        self,
        python: Path,
        roots: Sequence[str],
        scratch: Path,
        *,
        name: str,
        environ: Mapping[str, str],
    ) -> None:
        for variable in _FOREIGN_CODE:
            if variable in environ:
                raise UsageError(
                    f"{variable} would let host {name!r} import from outside its environment; "
                    f"give further directories as extra_roots"
                )
        self._name = name
        self._python = python
        self._roots = roots
        self._scratch = scratch
        self._environ = environ
        self._log = scratch / "logs" / f"host-{name}.log"
        self._ident = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: wire.Channel | None = None

    @property
    def pid(self) -> int | None:
        """The process id while the process is alive, else None."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start the process, which then imports; harmless if it was started.

        Raises UsageError outside the main thread, RefusedError if there is no such interpreter.
        """
        if self._process is not None:
            return
        if threading.current_thread() is not threading.main_thread():
            raise UsageError(
                f"host {self._name!r} must be started from the main thread: the kernel ends a host "
                f"together with the thread that started it"
            )
        kernel.become_subreaper()
        for directory in ("logs", "home", "tmp"):
            (self._scratch / directory).mkdir(exist_ok=True)
        control, theirs = wire.pair(ANSWER_S)
        command = [str(self._python), "-s", "-c", BOOTSTRAP, str(theirs), str(os.getpid())]
        try:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    [*command, *self._roots],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._environment(),
                    cwd=self._scratch,
                    pass_fds=(theirs,),
                    start_new_session=True,
                )
        except OSError as error:
            control.close()
            raise RefusedError(
                f"environment {self._name!r} has no interpreter that runs at {self._python}: "
                f"{error.strerror}; build the environment again"
            ) from error
        finally:
            os.close(theirs)
        self._control = control

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a question whose answer is fetched by `answer` before anything else is asked."""
        self._open().send(message)

    def ask(self, message: Mapping[str, Any], fds: Sequence[int]) -> wire.Message:
        """Send a question with descriptors and return the answer."""
        with self._lock:
            control = self._open()
            try:
                control.send(message)
                for fd in fds:
                    control.send_fd(fd, self.pid or 0)
            except OSError:
                raise self._dead() from None
            return self.answer(ANSWER_S)

    def answer(self, timeout_s: float) -> wire.Message:
        """Return the next answer; raises RefusedError if it is a refusal or none comes."""
        control = self._open()
        try:
            reply = control.receive(timeout_s)
        except TimeoutError:
            control.close()
            raise RefusedError(
                f"host {self._name!r} did not answer within {timeout_s:g} s; "
                f"its log {self._log} ends: {self._tail()}"
            ) from None
        except (EOFError, OSError):
            raise self._dead() from None
        if "refused" in reply:
            raise RefusedError(f"environment {self._name!r}: {reply['refused']}")
        return reply

    def close(self, known: Iterable[int]) -> None:
        """End the process; `known` are shepherds and workers, should it have been killed."""
        process, self._process = self._process, None
        if process is None:
            return
        if self._control is not None:
            self._control.close()
        try:
            process.wait(_GONE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_GONE_S)
        if process.returncode:
            leaks.sweep(_HOST_VARIABLE, self._ident, known, _GONE_S)

    def _open(self) -> wire.Channel:
        if self._process is None or self._control is None:
            raise UsageError(f"host {self._name!r} is not open; use it inside its with block")
        return self._control

    def _environment(self) -> dict[str, str]:
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(self._scratch / "home"),
            "TMPDIR": str(self._scratch / "tmp"),
            # With a random one, 300 drawers took 1838 to 1845 writes of data_level0.bin on 0.6.3,
            # a different number for each host; with this, 1847 every time.
            "PYTHONHASHSEED": "0",
        }
        environment.update(self._environ)
        environment[_HOST_VARIABLE] = self._ident
        environment[RUN_VARIABLE] = run_id_of(self._scratch) or self._ident
        return environment

    def _dead(self) -> LabError:
        return RefusedError(
            f"the host process of environment {self._name!r} ended by itself; "
            f"its log {self._log} ends: {self._tail()}"
        )

    def _tail(self) -> str:
        with contextlib.suppress(OSError):
            text = self._log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()
            return text or "(nothing)"
        return "(no log)"
