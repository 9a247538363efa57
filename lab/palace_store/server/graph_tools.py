"""Tools on the knowledge graph: tell a fact, ask about an entity, end a fact.

A tool's docstring is what an agent reads of it.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from palace_store.server.memory import Memory


class GraphTools:
    """What an agent can do with the facts of one palace."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def kg_add(
        self,
        subject: str,
        predicate: str,
        object: str,  # noqa: A002  (the argument's name on the wire)
        valid_from: str | None = None,
        source: str | None = None,
        key: str | None = None,
    ) -> dict[str, Any]:
        """Add a fact, from a date on if one is given; one that holds already keeps its id.

        The date may lie ahead; told again with an earlier one, or none, the fact begins then.
        With a `key` of your own the call can be repeated safely when its outcome is unknown.
        """
        return {
            "id": self._memory.triples.add(
                subject, predicate, object, valid_from=valid_from, source=source, key=key
            )
        }

    def kg_invalidate(
        self,
        subject: str,
        predicate: str,
        object: str,  # noqa: A002  (the argument's name on the wire)
        ended: str | None = None,
    ) -> dict[str, Any]:
        """End a fact, now or at a date that has come; `ended` in the answer is how many that were.

        A date that lies ahead is refused. A fact that is to begin later is taken back without one.
        """
        count = self._memory.triples.invalidate(subject, predicate, object, ended=ended)
        return {"ended": count}

    def kg_query(
        self,
        entity: str,
        as_of: str | None = None,
        direction: Literal["in", "out", "both"] = "both",
    ) -> dict[str, Any]:
        """Return the facts about an entity: all, or those that held at a date, each once."""
        found = self._memory.triples.query(entity, as_of=as_of, direction=direction)
        return {"facts": [asdict(fact) for fact in found]}
