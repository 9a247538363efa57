"""The one list of tools: which there are, and which of them change the palace.

What is said of a tool here decides whether a stale server may still answer it (S0). A new tool is
a function with a docstring and a line below.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from palace_store.server.drawer_tools import DrawerTools
from palace_store.server.graph_tools import GraphTools
from palace_store.server.memory import Memory


@dataclass(frozen=True)
class Tool:
    """One tool: what does it, and whether it changes the palace."""

    function: Callable[..., dict[str, Any]]
    changes: bool

    @property
    def name(self) -> str:
        """Return the name on the wire."""
        return self.function.__name__


def tools_of(memory: Memory) -> list[Tool]:
    """Return the tools on one palace; `status` is the server's own."""
    drawers, graph = DrawerTools(memory), GraphTools(memory)
    return [
        Tool(drawers.add_drawer, changes=True),
        Tool(drawers.diary_write, changes=True),
        Tool(drawers.mine, changes=True),
        Tool(drawers.search, changes=False),
        Tool(graph.kg_add, changes=True),
        Tool(graph.kg_invalidate, changes=True),
        Tool(graph.kg_query, changes=False),
    ]
