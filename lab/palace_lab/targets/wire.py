"""The wire between the machines and the remote: a TCP relay that does harm when it is told to.

* `refuse`: nobody listens any more; every connection is cut.
* `lose-reply`: the server has answered, so it has done what was asked; the answer is thrown away
  and the connection cut.
* `cut-reply`: the answer ends in the middle. `cut-request`: the question does.
* `hold`: the answer is kept back until it is let go, or for so many seconds.

A fault is for requests whose first line has a text in it, and happens so many times. Everything
runs in one thread with an event loop of its own; the other methods may be called from any thread.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Literal

What = Literal["lose-reply", "cut-reply", "cut-request", "hold"]
WHATS: tuple[What, ...] = ("lose-reply", "cut-reply", "cut-request", "hold")
_BYTES = 65536
_METHODS = (b"GET ", b"POST ", b"DELETE ")
_ANSWER_S = 10.0


@dataclass
class Fault:
    """One harm: what, to which requests, how often; `bytes_` of a message that is cut are sent."""

    what: What
    where: str
    times: int = 1
    bytes_: int = 20
    hold_s: float = 0.0


class Wire:
    """Relays `port`, on this machine, to the server's own port."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._door: asyncio.Server | None = None
        self._links: set[asyncio.StreamWriter] = set()
        self._faults: list[Fault] = []
        self._let_go = asyncio.Event()
        self._holding = 0
        self._is_holding = threading.Event()
        self.done: dict[str, int] = {}
        self.port = 0
        self.open()

    def open(self) -> None:
        """Listen, on the same port as before."""
        if self._door is None:
            self._in_loop(self._open())

    def refuse(self) -> None:
        """Listen no more, and cut every connection."""
        self._in_loop(self._refuse())

    def add(self, fault: Fault) -> None:
        """Do that harm from now on."""
        if fault.what not in WHATS:
            raise ValueError(f"there is no fault {fault.what!r}; there are: {', '.join(WHATS)}")
        self._is_holding.clear()
        self._faults.append(fault)

    def wait_held(self, timeout_s: float) -> bool:
        """Wait until an answer is being held; tell whether one is."""
        return self._is_holding.wait(timeout_s)

    def holding(self) -> int:
        """Return how many answers are being held."""
        return self._holding

    def heal(self) -> None:
        """Do no harm any more: let go what is held, listen again."""
        self._faults.clear()
        self._in_loop(self._release())
        self.open()

    def close(self) -> None:
        """Cut everything and end the thread."""
        self._faults.clear()
        self._in_loop(self._release())
        self._in_loop(self._refuse())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_ANSWER_S)

    def _in_loop(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_ANSWER_S)

    async def _open(self) -> None:
        self._door = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, family=socket.AF_INET
        )
        self.port = self._door.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._door is not None:
            self._door.close()
            self._door = None
        for link in list(self._links):
            link.transport.abort()
        await asyncio.sleep(0)  # so that what was cut is told before anybody asks

    async def _release(self) -> None:
        self._let_go.set()
        self._let_go = asyncio.Event()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, onward = await asyncio.open_connection("127.0.0.1", self._server_port)
        self._links |= {writer, onward}
        relay = _Relay(self, writer, onward)
        pumps = [
            asyncio.ensure_future(relay.questions(reader)),
            asyncio.ensure_future(relay.answers(there)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for link in (writer, onward):
                link.transport.abort()
                self._links.discard(link)

    def due(self, line: bytes, whats: tuple[What, ...]) -> Fault | None:
        """Return the fault that befalls a request with this first line now, and count it."""
        for fault in self._faults:
            if fault.what in whats and fault.times > 0 and fault.where in line.decode("latin-1"):
                fault.times -= 1
                self.done[fault.what] = self.done.get(fault.what, 0) + 1
                return fault
        return None

    async def hold(self, seconds: float) -> None:
        """Wait until what is held is let go, or for so long."""
        self._holding += 1
        self._is_holding.set()
        try:
            await asyncio.wait_for(self._let_go.wait(), seconds)
        except asyncio.TimeoutError:
            return
        finally:
            self._holding -= 1


class _Relay:
    """One connection, both ways."""

    def __init__(self, wire: Wire, back: asyncio.StreamWriter, on: asyncio.StreamWriter) -> None:
        self._wire = wire
        self._back = back
        self._on = on
        self._line = b""  # the first line of the request under way
        self._answering = False
        self._left: int | None = None  # bytes of an answer that is to be cut

    async def questions(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(_BYTES):
            if data.startswith(_METHODS):
                self._line, self._answering = data.split(b"\r\n", 1)[0], False
                self._left = None
                fault = self._wire.due(self._line, ("cut-request",))
                if fault is not None:
                    self._on.write(data[: fault.bytes_])
                    await self._on.drain()
                    return
            self._on.write(data)
            await self._on.drain()

    async def answers(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(_BYTES):
            if not self._answering:
                self._answering = True
                fault = self._wire.due(self._line, ("lose-reply", "cut-reply", "hold"))
                if fault is not None and fault.what == "hold":
                    await self._wire.hold(fault.hold_s)
                elif fault is not None:
                    self._left = fault.bytes_ if fault.what == "cut-reply" else 0
            if self._left is not None:  # a reply may come in several parts
                data = data[: self._left]
                self._left -= len(data)
            self._back.write(data)
            await self._back.drain()
            if self._left == 0:
                await asyncio.sleep(0)
                return
