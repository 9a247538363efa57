"""The one list of tools: which there are, and which of them change the palace.

What is said of a tool here decides whether a stale server may still answer it (S0). A new tool is
a function with a docstring and a line below.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from palace_store.server.drawer_tools import DrawerTools
from palace_store.server.graph_tools import GraphTools
from palace_store.server.memory import Memory
from palace_store.server.memory_tools import MemoryTools

Answer = dict[str, Any] | Awaitable[dict[str, Any]]


@dataclass(frozen=True)
class Tool:
    """One tool: what does it, and whether it changes the palace."""

    function: Callable[..., Answer]
    changes: bool

    @property
    def name(self) -> str:
        """Return the name on the wire."""
        return self.function.__name__


def tools_of(memory: Memory) -> list[Tool]:
    """Return the tools on one palace; `status` is the server's own."""
    drawers, graph = DrawerTools(memory), GraphTools(memory)
    memories = MemoryTools(memory.memories)
    return [
        Tool(drawers.add_drawer, changes=True),
        Tool(drawers.diary_write, changes=True),
        Tool(drawers.mine, changes=True),
        Tool(drawers.search, changes=False),
        Tool(graph.kg_add, changes=True),
        Tool(graph.kg_invalidate, changes=True),
        Tool(graph.kg_query, changes=False),
        Tool(memories.memory_store, changes=True),
        Tool(memories.memory_recall, changes=False),
        Tool(memories.memory_delete, changes=True),
        Tool(memories.memory_count, changes=False),
        Tool(memories.memory_parked, changes=False),
        Tool(memories.memory_retry, changes=True),
    ]
