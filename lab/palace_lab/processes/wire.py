"""Messages between processes: one JSON object each, over a socket pair, bounded in size and time.

Rules: only plain data crosses, so that interpreters of different versions understand each other.
A peer that does not read, or stops in the middle of a message, costs at most the channel's
patience, never a stuck run.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

from multiprocess import reduction
from multiprocess.connection import Connection

#: Enough for an observation of 100,000 drawers; more is a mistake of the sender.
MESSAGE_BYTES_MAX = 64 * 1024 * 1024

Message = dict[str, Any]


class Channel:
    """One end of a conversation. Not thread-safe."""

    def __init__(self, fd: int, *, patience_s: float | None = None) -> None:
        """Take over the socket `fd`; with `patience_s`, a blocked read or write ends in OSError."""
        os.set_inheritable(fd, False)
        if patience_s is not None:
            _set_patience(fd, patience_s)
        self._connection = Connection(fd)

    def fileno(self) -> int:
        """Return the descriptor, for waiting on several channels."""
        number: int = self._connection.fileno()
        return number

    @property
    def closed(self) -> bool:
        """Tell whether this end was closed."""
        return bool(self._connection.closed)

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one message.

        Raises ValueError if it is too large or not plain data, OSError if the peer is gone or does
        not read.
        """
        try:
            data = json.dumps(message, separators=(",", ":")).encode()
        except TypeError as error:
            raise ValueError(f"a message holds only plain data, but {error}") from None
        if len(data) > MESSAGE_BYTES_MAX:
            raise ValueError(
                f"a message of {len(data)} bytes exceeds {MESSAGE_BYTES_MAX}; send it in parts"
            )
        self._connection.send_bytes(data)

    def poll(self, timeout_s: float = 0.0) -> bool:
        """Tell whether a message, or the end of the conversation, is there within the time."""
        return bool(self._connection.poll(timeout_s))

    def receive(self, timeout_s: float | None = None) -> Message:
        """Return the next message; None waits until the peer is gone.

        Raises EOFError if the peer has closed its end, TimeoutError after `timeout_s` seconds.
        """
        if timeout_s is not None and not self.poll(timeout_s):
            raise TimeoutError(f"no message within {timeout_s:g} s")
        try:
            data = self._connection.recv_bytes(MESSAGE_BYTES_MAX)
        except ConnectionResetError:
            raise EOFError from None
        message = json.loads(data)
        if not isinstance(message, dict):
            raise TypeError(f"a message is a JSON object, but a {type(message).__name__} came")
        return message

    def send_fd(self, fd: int, receiver: int) -> None:
        """Hand a descriptor to the process `receiver` at the other end."""
        reduction.send_handle(self._connection, fd, receiver)

    def receive_fd(self, timeout_s: float) -> int:
        """Return a descriptor handed over by `send_fd`."""
        if not self.poll(timeout_s):
            raise TimeoutError(f"no descriptor within {timeout_s:g} s")
        fd: int = reduction.recv_handle(self._connection)
        os.set_inheritable(fd, False)
        return fd

    def close(self) -> None:
        """Close this end; the peer sees the end of the conversation. Harmless when repeated."""
        with contextlib.suppress(OSError):
            self._connection.close()


def pair(patience_s: float) -> tuple[Channel, int]:
    """Return a channel for this process and the descriptor of its other end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return Channel(ours.detach(), patience_s=patience_s), theirs.detach()


def remaining(deadline: float) -> float:
    """Return the seconds left until `deadline` of `time.monotonic`, never below 0."""
    return max(0.0, deadline - time.monotonic())


def _set_patience(fd: int, patience_s: float) -> None:
    value = struct.pack("@ll", int(patience_s), int(patience_s % 1 * 1_000_000))
    with socket.socket(fileno=os.dup(fd)) as view:
        view.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)
        view.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
