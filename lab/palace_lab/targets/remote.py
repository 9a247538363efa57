"""The remote of a trial as a process of its own: its server, and the wire that leads to it (S4).

It runs by the lab's own interpreter (`Process(release=OWN)`), which has what a server needs. Where
it listens is in a file below the palace, from which the machines read it. The plan tells it what to
do wrong, in words: see `Misbehaviour` and `wire`.
"""

from __future__ import annotations

import socket
import threading
from typing import Any

import uvicorn

from palace_lab.targets.base import Context, Target
from palace_lab.targets.memory_files import ADDRESS, REMOTE, remote_file, words_of
from palace_lab.targets.remote_app import Misbehaviour, RemoteStore, make_app
from palace_lab.targets.wire import Fault, What, Wire

#: The longest wait for a request that the plan says comes, in seconds.
_HELD_S_MAX = 40.0
_END_S = 10.0

Answer = dict[str, Any]


class WaitedForRemoteError(Exception):
    """What should not have waited for the remote's answer has: it is over, and so is the answer."""


class NotHeldError(Exception):
    """No request came that the plan says is held."""


class RemoteTarget(Target):
    """The remote; `open` starts it."""

    RECORDS_ITSELF = frozenset({"put"})

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.wrong = Misbehaviour()
        self._store: RemoteStore | None = None
        self._wire: Wire | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> Answer:
        """Start server and wire, and write down where the wire begins."""
        self._store = RemoteStore(remote_file(self.context.palace))
        app = make_app(self._store, self.wrong)
        config = uvicorn.Config(app, log_level="error", lifespan="off", access_log=False)
        self._server = uvicorn.Server(config)
        listening = socket.create_server(("127.0.0.1", 0))  # so no connection comes too early
        # Its connections inherit that. Without, each answer waits 40 ms for an acknowledgement.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._thread = threading.Thread(target=self._server.run, args=([listening],), daemon=True)
        self._thread.start()
        self._wire = Wire(listening.getsockname()[1])
        address = self.context.palace / REMOTE / ADDRESS
        address.write_text(f"http://127.0.0.1:{self._wire.port}", encoding="ascii")
        return {"port": self._wire.port}

    def close(self) -> None:
        """Stop both."""
        if self._wire is not None:
            self._wire.close()
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._server.force_exit = True
            self._thread.join(_END_S)
        if self._store is not None:
            self._store.close()

    def put(self, *, first: int, count: int = 1) -> Answer:
        """Store memories as another program does, which has no keys."""
        for n in range(first, first + count):
            with self.call("memory", first=n, count=1):
                memory = {
                    "namespace": "default",
                    "content": words_of(n),
                    "metadata": {},
                    "created": "2025-01-01T00:00:00+00:00",
                }
                self._own().store(memory, "")
        return {"stored": count}

    def fault(
        self, *, what: What, where: str, times: int = 1, bytes_: int = 20, hold_s: float = 0.0
    ) -> Answer:
        """Do harm on the wire (see `wire`); `hold_s` is scaled: how long it lasts is the fault."""
        hold_s *= self.context.time_scale
        self._on_wire().add(Fault(what, where, times, bytes_, hold_s))
        return {"what": what}

    def refuse_connections(self) -> Answer:
        """Listen no more."""
        self._on_wire().refuse()
        return {"refused": True}

    def listen(self) -> Answer:
        """Listen again; other harm goes on."""
        self._on_wire().open()
        return {"refused": False}

    def await_held(self) -> Answer:
        """Wait until an answer is being held."""
        if not self._on_wire().wait_held(_HELD_S_MAX):
            raise NotHeldError("no request came that is to be held; look at the plan")
        return {"holding": self._on_wire().holding()}

    def expect_holding(self) -> Answer:
        """Make sure that what was done since did not wait for the answer that is being held."""
        if not self._on_wire().holding():
            raise WaitedForRemoteError("it ended only when the remote had answered")
        return {"holding": True}

    def answer(self, *, first: int, count: int = 1, status: int = 422) -> Answer:
        """Answer with this status to whoever stores these memories."""
        self.wrong.statuses.update((words_of(n), status) for n in range(first, first + count))
        return {"status": status}

    def malform(self, *, first: int, count: int = 1) -> Answer:
        """Send these memories as malformed rows."""
        self.wrong.malformed.update(words_of(n) for n in range(first, first + count))
        return {"malformed": count}

    def take_key(self, *, key: str, denial: int = 401) -> Answer:
        """Take this key and no other."""
        self.wrong.key, self.wrong.denial = key, denial
        return {"key": key}

    def heal(self, *, accept: bool = True) -> Answer:
        """Do no harm any more; with `accept` also take what was refused for what it is."""
        if accept:
            self.wrong.statuses.clear()
        self.wrong.malformed.clear()
        self._on_wire().heal()
        return dict(self._on_wire().done)

    def _own(self) -> RemoteStore:
        assert self._store is not None, "the remote was not opened"
        return self._store

    def _on_wire(self) -> Wire:
        assert self._wire is not None, "the remote was not opened"
        return self._wire


def target(context: Context) -> RemoteTarget:
    """Return the target for the worker loop."""
    return RemoteTarget(context)
