"""How a tool takes its arguments from the wire: a text is the text it is.

The SDK reads a text as JSON wherever another type than a text is taken too, since some clients
write objects into texts. Of an optional text it would make null, a list or an object of what only
looks like one, and a key "null" would be no key. A number may come as text; true is none, though
Python takes it for 1.
"""

from __future__ import annotations

from collections.abc import Callable
from types import UnionType
from typing import Any, Union, get_args, get_origin

from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata
from mcp_types import ToolAnnotations

from palace_store.errors import PalaceInputError


class _AsSent(FuncMetadata):
    def pre_parse_json(self, data: dict[str, Any]) -> dict[str, Any]:
        """Read texts as JSON only where no text is taken; refuse true and false for a number."""
        for name, info in self.arg_model.model_fields.items():
            if info.annotation is int and isinstance(given := data.get(name), bool):
                raise PalaceInputError(
                    f"{name} is a number, not {str(given).lower()}; nothing was changed"
                )
        texts = {
            name: value
            for field, info in self.arg_model.model_fields.items()
            if _takes_text(info.annotation)
            for name in (field, info.alias)
            if name is not None and isinstance(value := data.get(name), str)
        }
        rest = {name: value for name, value in data.items() if name not in texts}
        return {**super().pre_parse_json(rest), **texts}


def _takes_text(annotation: Any) -> bool:
    union = get_origin(annotation) in {Union, UnionType}
    return annotation is str or (union and str in get_args(annotation))


def as_sent(function: Callable[..., Any], hints: ToolAnnotations) -> Tool:
    """Return what the SDK serves of a function."""
    made = Tool.from_function(function, annotations=hints)
    made.fn_metadata = _AsSent(**dict(made.fn_metadata))
    return made
