"""The relay cuts a reply where it is told to, in however many parts the reply comes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import pytest

from palace_lab.targets.wire import Fault, Wire

DEADLINE_S = 20.0
ASKED = b"POST /mcp HTTP/1.1\r\n\r\n"


@contextmanager
def served(parts: Sequence[bytes], goes_on: threading.Semaphore) -> Iterator[Wire]:
    """Relay to a server that answers one request in these parts, each when it is let."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(DEADLINE_S)

    def serve() -> None:
        there, _ = listening.accept()
        there.settimeout(DEADLINE_S)
        with there, suppress(ConnectionError):  # once it is cut the rest cannot be sent
            there.recv(1000)
            for part in parts:
                assert goes_on.acquire(timeout=DEADLINE_S)
                there.sendall(part)
            there.recv(1000)  # until the relay leaves

    thread = threading.Thread(target=serve)
    thread.start()
    wire = Wire(listening.getsockname()[1])
    try:
        yield wire
    finally:
        wire.close()
        thread.join(DEADLINE_S)
        listening.close()
    assert not thread.is_alive()


@pytest.mark.parametrize("bytes_", [0, 3, 4, 6, 7])
def test_a_reply_in_parts_is_cut_after_so_many_bytes(bytes_: int) -> None:
    goes_on, got = threading.Semaphore(0), b""
    with served([b"head", b"body"], goes_on) as wire:
        wire.add(Fault("cut-reply", "POST /mcp", bytes_=bytes_))
        with socket.create_connection(("127.0.0.1", wire.port), DEADLINE_S) as client:
            client.sendall(ASKED)
            goes_on.release()
            if bytes_ >= len(b"head"):  # the body comes when the head has
                got += client.recv(len(b"head"))
            goes_on.release()
            got += rest(client)
    assert got == b"headbody"[:bytes_]
    assert wire.done == {"cut-reply": 1}


def rest(client: socket.socket) -> bytes:
    """Return what comes until the connection ends, in order or not."""
    got = b""
    with suppress(ConnectionResetError):
        while part := client.recv(100):
            got += part
    return got
