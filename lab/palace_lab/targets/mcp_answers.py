"""What a memory server answers to a call of a tool: a value, a refusal, or trouble.

A refusal is one sentence that says that nothing was changed. Whatever else goes wrong leaves open
what was done.
"""

from __future__ import annotations

from typing import Any

from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult


class ToolFailedError(Exception):
    """A tool answered with an error; `effect` is what is known of it: "none" or "unknown"."""

    def __init__(self, kind: str, sentence: str, effect: str) -> None:
        super().__init__(f"{kind}: {sentence}")
        self.effect = effect


class ToolRefusedError(ToolFailedError):
    """It refused, in one sentence, before any effect."""


class StaleAckError(Exception):
    """A call that changes something was acknowledged by a library that had been replaced."""


def value_of(answer: CallToolResult) -> dict[str, Any]:
    """Return what a tool answered; raises `ToolFailedError` if that is an error."""
    told: dict[str, Any] = answer.structured_content or {}
    if answer.is_error:
        text = " ".join(getattr(part, "text", "") for part in answer.content)
        kind, sentence = str(told.get("error", "ToolError")), str(told.get("sentence", text))
        if told.get("effect") == "none" and len(sentence.splitlines()) == 1:
            raise ToolRefusedError(kind, sentence, "none")
        raise ToolFailedError(kind, sentence, "unknown")
    return told


def of_protocol(error: MCPError) -> ToolFailedError:
    """Return what an error means that came from no tool, as when a restart did not come off."""
    sentence = str(error)
    if "nothing was changed" in sentence and len(sentence.splitlines()) == 1:
        return ToolRefusedError(type(error).__name__, sentence, "none")
    return ToolFailedError(type(error).__name__, sentence, "unknown")
