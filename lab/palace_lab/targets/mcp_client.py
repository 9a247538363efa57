"""One client of one memory server: how they are started, reach each other, ask and answer.

The client is the SDK's real one and lives in this worker; the server is its child, started by the
interpreter that option `python` names. Other options: `start`, "program" for the command that was
installed beside that; `mode`, the client's protocol ("auto", or "legacy" with the handshake);
`arguments`, more words for the server; `told_stale`, "error" to
have a call that a replaced library acknowledged count as an error (`StaleAckError`); `transport`,
"http" (all use the server of the process that option `serves` names) or "proxy" (each server is
reached by HTTP through an mcp-proxy of its own, the program that option `proxy` names).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp import Client, StdioServerParameters
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult

from palace_lab.targets.base import Context
from palace_lab.targets.drawers import DrawersTarget
from palace_lab.targets.http_server import PORT, shared
from palace_lab.targets.mcp_answers import StaleAckError, of_protocol, value_of

_WATCHED = ("chromadb", "palace_store")


class McpClient(DrawersTarget):
    """One client with one server."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._python = Path(context.options["python"])
        self._told_stale = context.options.get("told_stale") == "error"
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None
        self._client: Client | None = None
        self._started_with: dict[str, str] = {}
        self._texts: dict[tuple[float, ...], str] = {}

    def open(self) -> None:
        """Start the server and connect to it."""
        words = [*self._begun(), "--palace", str(self.context.palace)]
        for option in ("dimension", "sync_threshold", "batch_size"):
            words += [f"--{option.replace('_', '-')}", str(getattr(self, option))]
        words += [
            "--fixes",
            " ".join(self.context.fixes),
            *self.context.options.get("arguments", ()),
        ]
        mode = str(self.context.options.get("mode", "auto"))
        self._started_with = self._installed()
        client = Client(self._reached(words), mode=mode)
        self._portal = self._stack.enter_context(start_blocking_portal())
        wrapped: AbstractContextManager[Client] = self._portal.wrap_async_context_manager(client)
        self._client = self._stack.enter_context(wrapped)

    def close(self) -> None:
        """Leave the server, which then ends."""
        self._stack.close()

    def _begun(self) -> list[str]:
        """Return the words that start a server."""
        if self.context.options.get("start") == "program":
            return [str(self._python.with_name("palace-server"))]
        return [str(self._python), "-m", "palace_store.server"]

    def _reached(self, words: list[str]) -> StdioServerParameters | str:
        """Return what leads a client to its server; starts one that is to be shared."""
        transport = self.context.options.get("transport", "stdio")
        if transport == "stdio":
            return StdioServerParameters(command=words[0], args=words[1:])
        serves = self.context.process
        if transport == "http":
            serves, words = self.context.options["serves"], [*words, "--http", "--port", PORT]
        else:
            proxy = self.context.options["proxy"]
            words = [proxy, "--port", PORT, "--pass-environment", "--", *words]
        url, server = shared(self.context, serves, words)
        if server is not None:
            self._stack.callback(server.stop)
        return f"{url}/mcp"

    def _change(self, tool: str, **arguments: Any) -> dict[str, Any]:
        installed = self._installed()
        answer = self._ask(tool, **arguments)
        if self._told_stale and installed != self._started_with:
            raise StaleAckError(
                f"{tool} was acknowledged by what was started with {self._started_with}, though "
                f"{installed} is installed"
            )
        return answer

    def _ask(self, tool: str, **arguments: Any) -> dict[str, Any]:
        try:
            return value_of(self._opened().call(self._call, tool, arguments))
        except MCPError as error:
            raise of_protocol(error) from error

    async def _call(self, tool: str, arguments: dict[str, Any]) -> CallToolResult:
        assert self._client is not None
        return await self._client.call_tool(tool, arguments)

    def _opened(self) -> BlockingPortal:
        if self._portal is None:
            raise RuntimeError("there is no server: the plan must open it in this process first")
        return self._portal

    def _installed(self) -> dict[str, str]:
        """Return what is installed beside the server, by the names of its folders."""
        found = {}
        for info in self._python.parent.parent.glob("lib/*/site-packages/*.dist-info"):
            name, _, version = info.name.removesuffix(".dist-info").rpartition("-")
            if name in _WATCHED:
                found[name] = version
        return found
