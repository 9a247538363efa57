"""A server that several clients of a trial share over HTTP: a child that dies with its worker.

One process of the plan starts it and writes down where it listens; the others read that.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from palace_lab.processes.kernel import die_with_parent
from palace_lab.targets.base import Context

#: Beside the palace, in the directory of the trial.
ADDRESS = "server-address"
PORT = "{port}"
_START_S = 120.0
_END_S = 30.0
_PAUSE_S = 0.02


class NotServingError(Exception):
    """The server did not begin to listen, or nobody has started one."""


class HttpServer:
    """One server; `words` are its command line, in which `PORT` stands for the port."""

    def __init__(self, words: Sequence[str], address: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._child = subprocess.Popen(
            [str(self.port) if word == PORT else word for word in words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509  (no thread of ours holds a lock then)
        )
        try:
            self._await()
        except BaseException:
            self.stop()
            raise
        address.write_text(f"http://127.0.0.1:{self.port}", encoding="ascii")

    def stop(self) -> None:
        """End it in good order, or kill it if that takes too long."""
        self._child.send_signal(signal.SIGTERM)
        try:
            self._child.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait(_END_S)

    def _await(self) -> None:
        by_s = time.monotonic() + _START_S
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self._child.poll() is not None:
                raise NotServingError(f"the server ended at once, with {self._child.returncode}")
            if time.monotonic() > by_s:
                raise NotServingError(f"no server listens on port {self.port} after {_START_S} s")
            time.sleep(_PAUSE_S)


def shared(context: Context, serves: str, words: Sequence[str]) -> tuple[str, HttpServer | None]:
    """Return where the server of process `serves` listens, and the server if this is that process.

    `words` start it. Raises `NotServingError` if that process has not opened it yet.
    """
    address = context.palace.with_name(f"{ADDRESS}-{serves}")
    server = HttpServer(words, address) if serves == context.process else None
    try:
        return address.read_text(encoding="ascii"), server
    except FileNotFoundError:
        raise NotServingError(f"process {serves} of the plan has not opened its server") from None
