"""HTTP whose every exchange is bounded as a whole, in time and in size.

A time-out of httpx is one for each read, which a peer that sends a byte now and then never meets.
Here it is one for all of connecting, asking and hearing out the answer, and once more for each
`SLICE_BYTES` that were moved: a slow line gets through, one that only drips does not. A request
whose time-out is None is waited for to its end.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import httpcore
import httpx

SLICE_BYTES = 256 * 1024
#: Longest answer, in bytes: more would be the memory of a small machine.
ANSWER_BYTES_MAX = 64 * 1024 * 1024


class TooLongError(httpx.HTTPError):
    """An answer is longer than `ANSWER_BYTES_MAX`; the rest of it was not heard."""


class _Allowance(threading.local):
    """How long the exchange of this thread may still take."""

    timeout_s: float | None = None
    begun_s: float = 0.0
    moved: int = 0

    def begin(self, timeout_s: float | None) -> None:
        self.timeout_s, self.begun_s, self.moved = timeout_s, time.monotonic(), 0

    def left(
        self, timeout_s: float | None, late: Callable[[str], httpcore.TimeoutException]
    ) -> float | None:
        """Return how long one step may take, or raise what `late` makes of a sentence."""
        if self.timeout_s is None:
            return timeout_s
        whole_s = self.timeout_s * (1 + self.moved // SLICE_BYTES)
        left_s = self.begun_s + whole_s - time.monotonic()
        if left_s <= 0:
            raise late(f"timed out after {whole_s:g} s")
        return left_s if timeout_s is None else min(timeout_s, left_s)


class BoundedTransport(httpx.HTTPTransport):
    """A transport of httpx with such bounds. Thread-safe."""

    def __init__(self, *, tls: bool) -> None:
        super().__init__(verify=False, trust_env=False)
        self._allowance = _Allowance()
        # httpx lets nobody choose how it connects, so the pool it made is replaced by one like it.
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False) if tls else None,
            max_connections=100,
            max_keepalive_connections=20,
            keepalive_expiry=5.0,
            network_backend=_Backend(self._allowance),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Do one exchange; the body of the answer is still to be read."""
        self._allowance.begin(request.extensions.get("timeout", {}).get("read"))
        answer = super().handle_request(request)
        answer.stream = _Body(answer.stream)
        return answer


class _Body(httpx.SyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        heard = 0
        for part in self._stream:
            heard += len(part)
            if heard > ANSWER_BYTES_MAX:
                raise TooLongError(f"it is longer than {ANSWER_BYTES_MAX} bytes")
            yield part

    def close(self) -> None:
        self._stream.close()


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, allowance: _Allowance) -> None:
        self._stream = stream
        self._allowance = allowance

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left_s = self._allowance.left(timeout, httpcore.ReadTimeout)
        heard = self._stream.read(max_bytes, left_s)
        self._allowance.moved += len(heard)
        return heard

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for begin in range(0, len(buffer), SLICE_BYTES):
            part = buffer[begin : begin + SLICE_BYTES]
            self._stream.write(part, self._allowance.left(timeout, httpcore.WriteTimeout))
            self._allowance.moved += len(part)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left_s = self._allowance.left(timeout, httpcore.ConnectTimeout)
        tls = self._stream.start_tls(ssl_context, server_hostname, left_s)
        return _Stream(tls, self._allowance)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.SyncBackend):
    def __init__(self, allowance: _Allowance) -> None:
        self._allowance = allowance

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        left_s = self._allowance.left(timeout, httpcore.ConnectTimeout)
        try:
            stream = super().connect_tcp(host, port, left_s, local_address, socket_options)
        except (UnicodeError, OverflowError) as error:  # of a name no resolver can ask for
            raise httpcore.ConnectError(str(error)) from error
        return _Stream(stream, self._allowance)
