"""What counts as a refusal of a memory server, and what leaves open what was done."""

from __future__ import annotations

from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, TextContent

from palace_lab.targets.base import phase_of
from palace_lab.targets.mcp_answers import ToolFailedError, ToolRefusedError, of_protocol, value_of

pytestmark = pytest.mark.s0

REFUSED = {"error": "StaleServerError", "sentence": "it is stale", "effect": "none"}


def answer(told: dict[str, Any], text: str = "", *, is_error: bool = True) -> CallToolResult:
    return CallToolResult(
        content=[TextContent(type="text", text=text)], structured_content=told, is_error=is_error
    )


def test_a_value_is_what_the_tool_told() -> None:
    assert value_of(answer({"id": "d1"}, is_error=False)) == {"id": "d1"}


def test_one_sentence_that_says_that_nothing_was_changed_is_a_refusal() -> None:
    with pytest.raises(ToolRefusedError, match=r"^StaleServerError: it is stale$") as refused:
        value_of(answer(REFUSED))
    assert phase_of(refused.value) == "fail"


@pytest.mark.parametrize(
    "told",
    [
        {**REFUSED, "sentence": "Traceback (most recent call last):\n  File"},
        {**REFUSED, "sentence": ""},
        {**REFUSED, "effect": "unknown"},
        {},
    ],
    ids=["no sentence", "nothing", "an effect perhaps", "text alone"],
)
def test_any_other_error_leaves_open_what_was_done(told: dict[str, Any]) -> None:
    with pytest.raises(ToolFailedError) as failed:
        value_of(answer(told, "boom"))
    assert not isinstance(failed.value, ToolRefusedError)
    assert phase_of(failed.value) == "info"


@pytest.mark.parametrize(
    ("sentence", "phase"),
    [("it did not restart; nothing was changed: wait", "fail"), ("Connection closed", "info")],
)
def test_an_error_of_the_protocol_is_a_refusal_if_it_says_so(sentence: str, phase: str) -> None:
    error = of_protocol(MCPError(-32000, sentence))
    assert phase_of(error) == phase
    assert sentence in str(error)
