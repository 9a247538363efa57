"""Tools on memories (S4): store, recall, delete, count, here and at a remote if there is one.

A tool's docstring is what an agent reads of it.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mcp.server.mcpserver import Context

from palace_store.server.memories import Memories
from palace_store.server.waiting import waited_for

_PARKED_SHOWN = 100
_CHARACTERS_SHOWN = 200


class MemoryTools:
    """What an agent can do with the memories of one palace."""

    def __init__(self, memories: Memories) -> None:
        self._memories = memories

    def memory_store(
        self, content: str, namespace: str = "default", metadata: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Keep some words; what is there already stays as it is, so a call may be repeated."""
        kept = self._memories.store.store(content, namespace=namespace, metadata=metadata)
        return {"id": kept.id, "namespace": kept.namespace, "created": kept.created}

    async def memory_recall(
        self,
        query: str,
        context: Context[Any, Any],
        namespace: str | None = None,
        limit: int = 10,
    ) -> dict[str, Any]:
        """Find memories with words of the query, here and at the remote.

        Answers in time whatever the remote does: `complete` tells whether it was heard, `note` why
        not. Where that is "still working, retry", ask the same again a little later.
        """
        # Sent whatever comes of it: a client that waits knows by this that it is not for nothing.
        await context.report_progress(0, 1, "looking here and at the remote")
        found = await waited_for(
            lambda: self._memories.recall(query, namespace=namespace, limit=limit)
        )
        return {
            "memories": [asdict(memory) for memory in found.memories],
            "complete": found.complete,
            "note": found.note,
        }

    def memory_delete(self, id: str) -> dict[str, Any]:  # noqa: A002  (the name on the wire)
        """Forget a memory, here at once and at the remote soon; tells whether there was one."""
        return {"deleted": self._memories.delete(id)}

    def memory_parked(self) -> dict[str, Any]:
        """List what the remote could not be told and was given up, with the reason of each."""
        parked = self._memories.parked()
        shown = [
            {**asdict(each), "content": each.content[:_CHARACTERS_SHOWN]}
            for each in parked[:_PARKED_SHOWN]
        ]
        return {"count": len(parked), "parked": shown}

    def memory_retry(self) -> dict[str, Any]:
        """Tell the remote again, soon, what was given up; tells how much that is."""
        return {"retried": self._memories.retry()}

    async def memory_count(self) -> dict[str, Any]:
        """Count the memories here, at the remote, those it has yet to be told of, and given up.

        What was given up is listed by memory_parked, and told again by memory_retry.
        """
        return {**await waited_for(self._memories.count)}
