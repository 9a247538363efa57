"""The MCP server: the SDK's own, with every failure of a tool told in one sentence.

A failed call answers `is_error` with that sentence as its text, and as structured content the
kind of the error, the sentence, and `effect`: "none" where nothing was changed, else "unknown".
What nobody foresaw is written to standard error with its traceback, not to the client.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
from collections.abc import Callable
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp_types import CallToolResult, InputRequiredResult, TextContent, ToolAnnotations
from pydantic import ValidationError

import palace_store
from palace_store.errors import PalaceError, StaleServerError
from palace_store.server.arguments import as_sent
from palace_store.server.gate import ACTION, Gate, versions
from palace_store.server.memory import Memory
from palace_store.server.restart import Restart
from palace_store.server.tools import Answer as ToolAnswer
from palace_store.server.tools import Tool, tools_of

_SHOWN_MAX = 300
_log = logging.getLogger(__name__)

Answer = CallToolResult | InputRequiredResult


class NativePanicError(Exception):
    """Native code of chromadb panicked; what it had done by then is unknown."""


class PalaceServer(MCPServer[Any]):
    """The tools of one palace, over whichever transport it is run."""

    def __init__(self, memory: Memory, gate: Gate, *, restarts: int = 0) -> None:
        self.memory = memory
        self.restart: Restart | None = None  # where the transport can do that
        self._gate = gate
        self._restarts = restarts
        self.tools = {
            tool.name: tool for tool in [Tool(self.status, changes=False), *tools_of(memory)]
        }
        super().__init__(
            name="palace",
            version=palace_store.__version__,
            tools=[
                as_sent(_contained(tool.function), ToolAnnotations(read_only_hint=not tool.changes))
                for tool in self.tools.values()
            ],
            log_level="WARNING",
            subscriptions=False,
        )

    def status(self) -> dict[str, Any]:
        """Tell which palace this is, how much it holds, what runs here and what is installed.

        `reloads` is how often this server has opened the index anew for what others had written,
        `sync` how the memories and their remote stand, and why; null without a remote.
        """
        found = self._gate.look()
        stale = any(each.stale for each in found)
        told: dict[str, Any] = {
            "palace": str(self.memory.palace),
            "model": str(self.memory.embedder.identity),
            "process": os.getpid(),
            "restarts": self._restarts,
            "reloads": self.memory.drawers.session.reopened,
            **versions(found),
            "stale": stale,
            "action_required": ACTION if stale else None,
        }
        looks: dict[str, Callable[[], Any]] = {
            "drawers": self.memory.drawers.count,
            "triples": self.memory.triple_count,
            "memories": self.memory.memories.count_here,
            "sync": self.memory.memories.syncing,
        }
        for what, look in looks.items():
            try:
                told[what] = look()
            except Exception as error:  # noqa: BLE001  (told; the versions are told in any case)
                told[what], told[f"{what}_refused"] = None, f"{type(error).__name__}: {error}"
        return told

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> Answer:
        """Do one call; see the module's docstring for how it fails."""
        tool = self.tools.get(name)
        if tool is None:
            return failure(
                "UnknownToolError",
                f"there is no tool {name!r:.80}; there are: {', '.join(self.tools)}",
                "none",
            )
        if unknown := sorted(set(arguments) - self._arguments(name)):
            known = ", ".join(sorted(self._arguments(name))) or "none"
            return failure(
                "BadArgumentsError",
                f"{name} takes no argument {unknown[0]!r:.80}; "
                f"nothing was changed; its arguments are: {known}",
                "none",
            )
        request = None if context is None else context.request_context.request_id
        if self.restart is None or request is None:
            return await self._done(tool, arguments, context)
        if self.restart.takes(request, self._gate.replaced, changes=tool.changes):
            return failure("HandedOver", "the next program answers this", "none")  # never sent
        self.restart.began()
        try:
            return await self._done(tool, arguments, context)
        finally:
            self.restart.ended()

    async def _done(
        self, tool: Tool, arguments: dict[str, Any], context: Context[Any, Any] | None
    ) -> Answer:
        try:
            self._gate.refuse_if_stale(tool.name, changes=tool.changes)
            return await super().call_tool(tool.name, arguments, context)
        except StaleServerError as error:
            more = {"running": error.running, "installed": error.installed}
            return failure("StaleServerError", str(error), "none", **more, action_required=ACTION)
        except ToolError as error:
            return explained(tool.name, error)

    def _arguments(self, name: str) -> set[str]:
        schema = self._tool_input_schema(name) or {}
        return set(schema.get("properties", {}))


def explained(name: str, error: ToolError) -> CallToolResult:
    """Turn what a tool raised into the answer that tells it."""
    cause = error.__cause__
    if isinstance(cause, ValidationError):
        wrong = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg'].lower()}"
            for each in cause.errors()[:3]
        )
        return failure("BadArgumentsError", f"{name}: {wrong}; nothing was changed", "none")
    if isinstance(cause, PalaceError):
        return failure(type(cause).__name__, str(cause), cause.effect)
    if isinstance(error, UnexpectedToolError):
        _log.error("%s failed", name, exc_info=cause)
        said = f"{type(cause).__name__}: {cause}" if cause else str(error)
        sentence = f"{said}; whether anything was changed is unknown: repeat the call, or look"
        return failure(type(cause).__name__, sentence, "unknown")
    return failure("ToolError", str(error), "unknown")


def failure(kind: str, sentence: str, effect: str, **more: Any) -> CallToolResult:
    """Return the answer of a call that failed; `effect` is "none" or "unknown"."""
    said = " ".join(sentence.encode("utf-8", "backslashreplace").decode().split())
    told = said if len(said) <= _SHOWN_MAX * 2 else f"{said[: _SHOWN_MAX * 2]}…"
    return CallToolResult(
        content=[TextContent(type="text", text=told)],
        structured_content={"error": kind, "sentence": told, "effect": effect, **more},
        is_error=True,
    )


def _contained(function: Callable[..., ToolAnswer]) -> Callable[..., ToolAnswer]:
    """Turn a panic of native code, which is no Exception and would end the server, into one."""
    if inspect.iscoroutinefunction(function):
        return function  # has to do with no native code but SQLite's

    @functools.wraps(function)
    def contained(**arguments: Any) -> ToolAnswer:
        try:
            return function(**arguments)
        except (Exception, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # pyo3's PanicException
            raise NativePanicError(f"{type(error).__name__}: {error}") from error

    return contained
