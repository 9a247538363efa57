"""A client of a shared server whose connection is cut in the middle of a reply, and goes on.

A relay (`wire`) lies between this client and the server over HTTP; the other clients do without.
The SDK's client says of the cut call that its connection was closed. The call is then repeated; it
names its drawer, so that one that was done is not done twice. If the client has ended with its
connection, another is made in the same process, which goes through the same relay. `wrong` makes
the client that a guard has to catch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from mcp import StdioServerParameters

from palace_lab.targets.base import Context, describe, wrong_variant
from palace_lab.targets.mcp import McpTarget
from palace_lab.targets.mcp_answers import ToolFailedError
from palace_lab.targets.wire import Fault, Wire
from palace_lab.workloads.vectors import document, drawer_id

WRONG = {"not-done": "a call that was cut off is taken for one that was not done"}
#: Within the body of a reply to `add_drawer`: 126 bytes of head and 260 more (SDK 2.0), in the
#: older protocol 270 and 180 more.
_BYTES = 300


class NoConnectionError(Exception):
    """The plan gives this client no connection that could be cut."""


class NotDoneError(Exception):
    """What a wrong client says of a call that it has no answer to."""

    effect = "none"


class McpCutTarget(McpTarget):
    """One client with its relay; it pauses at "cut-off" when it has noticed that it was."""

    RECORDS_ITSELF = McpTarget.RECORDS_ITSELF | {"write_cut"}

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._wrong = wrong_variant(context, WRONG)
        self._wire: Wire | None = None
        self._ended = ""  # what the client whose connection was cut ended with

    def close(self) -> None:
        """Leave the server, then take the relay away."""
        super().close()
        if self._wire is not None:
            self._wire.close()

    def _reached(self, words: list[str]) -> StdioServerParameters | str:
        found = super()._reached(words)
        if not isinstance(found, str):
            raise NoConnectionError('a pipe cannot be cut: give the process the transport "http"')
        port = urlsplit(found).port
        assert port is not None
        self._wire = self._wire or Wire(port)
        return f"http://127.0.0.1:{self._wire.port}/mcp"

    def write_cut(self, *, first: int, count: int, at: int) -> dict[str, Any]:
        """Write drawers one by one; the reply to the `at`-th, counted from 1, is cut.

        Says what the SDK's client ended with, "" if it has not. Raises what it does where a call
        that was not cut fails.
        """
        for number in range(first, first + count):
            if number - first + 1 != at:
                self.write(first=number, count=1)
                continue
            with self.call("add", first=number, count=1), self._repeated(number):
                self._add(number)
        return {"written": count, "cut": self._cuts(), "ended_with": self._ended}

    @contextmanager
    def _repeated(self, number: int) -> Iterator[None]:
        """Cut the reply to the block's call; repeat the call when the client has noticed."""
        assert self._wire is not None
        self._wire.add(Fault("cut-reply", "POST /mcp", bytes_=_BYTES))
        try:
            yield
        except ToolFailedError as error:
            if not self._cuts():
                raise
            self.context.pause("cut-off")
            if self._wrong:
                self._connect_anew()
                raise NotDoneError(f"drawer {number} was not written: {error}") from error
            self._repeat(number)

    def _repeat(self, number: int) -> None:
        try:
            self._add(number)
        except ToolFailedError:  # nothing is cut any more: it is the client that has ended
            self._connect_anew()
            self._add(number)

    def _connect_anew(self) -> None:
        try:
            super().close()
        except Exception as error:  # noqa: BLE001  (told: it has ended with its connection)
            self._ended = describe(error)
        self.open()

    def _add(self, number: int) -> None:
        self.put("add", [drawer_id(number)], [], [document(number, 0)])

    def _cuts(self) -> int:
        return 0 if self._wire is None else self._wire.done.get("cut-reply", 0)


def target(context: Context) -> McpCutTarget:
    """Return the target for the worker loop."""
    return McpCutTarget(context)
