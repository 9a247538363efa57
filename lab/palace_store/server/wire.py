"""The client's pipe: whole lines in, whole lines out, no request without its answer.

The SDK's own stdio reads ahead in a thread, into a buffer that nobody can have back, and answers no
line that is no message. This one reads only when there is something, remembers each request until
its answer has left, and can be stopped between two lines.

* An answer has left when it was written as a whole; from then on its request is forgotten.
* A request is answered here, or handed over to the next program: `hand_over` says which, and what
  this program would still say about it is dropped.
* A line that is no message is answered here with an error, if it has the id of a request; nobody
  else gets to see it.
* Answers are written one after the other, in a thread that no call can keep from them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Container, Iterator
from contextlib import suppress

import anyio
import anyio.to_thread
import mcp_types as types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from palace_store.server.handover import Handover, write_all
from palace_store.server.lines import INVALID_REQUEST, PARSE_ERROR, error_line, request_id

_READ_BYTES = 64 * 1024
Id = int | str
Incoming = SessionMessage | Exception
_log = logging.getLogger(__name__)


class Wire:
    """Both directions of one pipe; everything runs in one event loop."""

    def __init__(self, left: Handover, *, fd_in: int = 0, fd_out: int = 1) -> None:
        self._left = left
        self._handshake = list(left.handshake)
        self._buffer = bytearray(b"".join(left.lines) + left.rest)
        self._fd_in, self._fd_out = fd_in, fd_out
        self._asked: dict[Id, bytes] = {}
        self._handed: set[Id] = set()
        self._mute: set[Id] = set()  # what this program still says about these is dropped
        self._told_again: set[Id] = set()
        self._greeting: Id | None = None  # the request of a handshake
        self._stopping = False
        self._go_on = anyio.Event()
        self._reading: anyio.CancelScope | None = None
        self._settled = anyio.Event()
        self._one_writer = anyio.CapacityLimiter(1)

    # -- what a restart does ---------------------------------------------------------------

    def stop_reading(self) -> None:
        """Read no further line until `go_on`; what has been read stays here."""
        self._stopping, self._go_on = True, anyio.Event()
        if self._reading is not None:
            self._reading.cancel()

    def hand_over(self, request: Id) -> None:
        """Leave a request to the next program; whatever is said about it here is dropped."""
        self._handed.add(request)
        self._mute.add(request)
        self._note()

    async def settled(self) -> None:
        """Wait until every request that was read is answered or handed over."""
        while not set(self._asked) <= self._handed:
            await self._settled.wait()

    def left(self) -> Handover:
        """Return what the next program has to know; only when reading has stopped."""
        lines = [line for request, line in self._asked.items() if request in self._handed]
        return Handover(list(self._handshake), lines, bytes(self._buffer), self._left.restarts + 1)

    async def go_on(self, refusal: str, again: Container[Id]) -> None:
        """There is no next program: refuse what was handed over, and read on.

        What is in `again` is not refused but read once more, before what is still to be read.
        """
        back = b""
        for request in [request for request in self._asked if request in self._handed]:
            if request in again and request not in self._mute:
                back += self._asked[request]
            else:
                error = types.ErrorData(code=types.INTERNAL_ERROR, message=refusal)
                await self._write(types.JSONRPCError(jsonrpc="2.0", id=request, error=error))
            self._answered(request)
        self._buffer[:0] = back
        self._stopping = False
        self._go_on.set()

    # -- the two directions ----------------------------------------------------------------

    async def read(self, to_server: MemoryObjectSendStream[Incoming]) -> None:
        """Pass every line on, until the client closes its end."""
        async with to_server:
            for line in self._handshake:
                message = _parsed(line)
                if isinstance(message.message, types.JSONRPCRequest):
                    self._told_again.add(message.message.id)
                await to_server.send(message)
            while await self._more():
                for line in self._lines():
                    try:
                        message = _parsed(line)
                    except ValidationError as error:
                        await self._refuse(line, error)
                        continue
                    self._remember(message.message, line)
                    await to_server.send(message)

    async def _more(self) -> bool:
        """Wait until there may be a whole line; False at the end of the pipe."""
        whole = b"\n" in self._buffer
        while True:
            if self._stopping:
                await self._go_on.wait()
            if whole:
                return True
            with anyio.CancelScope() as self._reading, suppress(PermissionError):
                await anyio.wait_readable(self._fd_in)  # a file is always readable, and says so
            if self._reading.cancelled_caught or self._stopping:
                continue
            read = os.read(self._fd_in, _READ_BYTES)
            if not read and not self._buffer:
                return False
            whole = b"\n" in read or not read
            self._buffer += read or b"\n"  # the last line may lack its end

    def _lines(self) -> Iterator[bytes]:
        while not self._stopping and (end := self._buffer.find(b"\n") + 1):
            line = bytes(self._buffer[:end])
            del self._buffer[:end]
            yield line

    async def _refuse(self, line: bytes, error: ValidationError) -> None:
        """Answer a line that is no message."""
        found = error.errors(include_url=False, include_context=False, include_input=False)
        unread = [each["msg"] for each in found if each["type"] == "json_invalid"]
        code = PARSE_ERROR if unread else INVALID_REQUEST
        what = f"cannot be read ({unread[0]})" if unread else "is no message of the protocol"
        request = request_id(line)
        if request is not None:
            told = f"this request {what}; nothing was changed: correct it and send it again"
            await self._write_line(error_line(request, code, told))
        elif line.strip():
            _log.warning("a line of %d bytes that is no request %s", len(line), what)

    def _remember(self, message: types.JSONRPCMessage, line: bytes) -> None:
        match message:
            case types.JSONRPCRequest(id=request, method=method):
                self._asked[request] = line
                if method == "initialize":
                    self._greeting = request
            case types.JSONRPCNotification(method="notifications/initialized"):
                self._handshake.append(line)
            case types.JSONRPCNotification(method="notifications/cancelled", params=params):
                # The SDK answers a cancelled request no more, and its client waits no more.
                self._answered((params or {}).get("requestId"))

    async def write(self, from_server: MemoryObjectReceiveStream[SessionMessage]) -> None:
        """Write every message of the server."""
        async with from_server:
            async for each in from_server:
                message = each.message
                if not isinstance(message, types.JSONRPCResponse | types.JSONRPCError):
                    await self._write(message)
                elif message.id in self._told_again:
                    self._told_again.discard(message.id)
                elif message.id in self._mute:
                    self._mute.discard(message.id)
                else:
                    self._greeted(message)
                    await self._write(message)
                    self._answered(message.id)

    def _greeted(self, message: types.JSONRPCResponse | types.JSONRPCError) -> None:
        """Keep a handshake that was accepted; a client of both protocols may try it in vain."""
        if message.id != self._greeting or not isinstance(message, types.JSONRPCResponse):
            return
        if (line := self._asked.get(message.id)) is not None:
            self._handshake = [line]

    async def _write(self, message: types.JSONRPCMessage) -> None:
        text = message.model_dump_json(by_alias=True, exclude_unset=True)
        await self._write_line(text.encode() + b"\n")

    async def _write_line(self, line: bytes) -> None:
        with suppress(BrokenPipeError):  # nobody listens any more; the other end comes soon
            await anyio.to_thread.run_sync(write_all, self._fd_out, line, limiter=self._one_writer)

    def _answered(self, request: object) -> None:
        if isinstance(request, int | str):
            self._asked.pop(request, None)
            self._handed.discard(request)
            self._note()

    def _note(self) -> None:
        self._settled.set()
        self._settled = anyio.Event()


def _parsed(line: bytes) -> SessionMessage:
    return SessionMessage(types.jsonrpc_message_adapter.validate_json(line, by_name=False))
