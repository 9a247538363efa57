"""Tools on drawers: remember, keep a diary, mine a folder, search.

A tool's docstring is what an agent reads of it.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timezone
from typing import Any

from palace_store.errors import PalaceInputError
from palace_store.server.memory import Memory, plain
from palace_store.server.mining import survey

DIARY = "diary"
_BATCH = 100
_SHOWN = 20
_FOUND_MAX = 100


class DrawerTools:
    """What an agent can do with the drawers of one palace."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def add_drawer(
        self,
        content: str,
        wing: str = "",
        room: str = "",
        id: str | None = None,  # noqa: A002  (the argument's name on the wire)
    ) -> dict[str, Any]:
        """Remember one text, in a wing and a room if they are named.

        The same text in the same place is remembered once, so a call may be repeated. With an `id`
        that holds another text already the call is refused.
        """
        text = plain("content", content)
        place = {"wing": plain("wing", wing, least=0), "room": plain("room", room, least=0)}
        name = id or f"drawer-{_digest(text, *place.values())}"
        store = self._memory.drawers
        store.add(
            [name],
            self._memory.vectors([text]),
            documents=[text],
            metadatas=[
                self._memory.labelled({key: value for key, value in place.items() if value}) or None
            ],
        )
        if id is not None:
            kept = store.get([name])
            if kept and kept[0].document != text:
                raise PalaceInputError(
                    f"drawer {name!r:.80} holds another text; nothing was changed: take another id"
                )
        return {"id": name}

    def diary_write(self, entry: str, agent: str = "agent") -> dict[str, Any]:
        """Write one entry into the diary of an agent."""
        text = plain("entry", entry)
        written = datetime.now(timezone.utc).isoformat(timespec="microseconds")
        name = f"diary-{secrets.token_hex(16)}"
        self._memory.drawers.add(
            [name],
            self._memory.vectors([text]),
            documents=[text],
            metadatas=[self._memory.labelled({"agent": plain("agent", agent), "written": written})],
            collection=DIARY,
        )
        return {"id": name, "written": written}

    def mine(self, folder: str) -> dict[str, Any]:
        """Remember every text file below a folder, in pieces; repeating it adds what is new."""
        found = survey(folder, self._memory.palace)
        for start in range(0, len(found.pieces), _BATCH):
            part = found.pieces[start : start + _BATCH]
            self._memory.drawers.add(
                [piece.id for piece in part],
                self._memory.vectors([piece.text for piece in part]),
                documents=[piece.text for piece in part],
                metadatas=[self._memory.labelled({"source_file": piece.source}) for piece in part],
            )
        shown = dict(list(found.skipped.items())[:_SHOWN])
        return {
            "files": found.files,
            "drawers": len(found.pieces),
            "passed_over": len(found.skipped),
            "for_example": shown,
        }

    def search(self, query: str, n: int = 5, collection: str = "drawers") -> dict[str, Any]:
        """Find the drawers whose text is nearest to the query; `collection` may be "diary".

        `incomplete` is there only if some drawers are known to be found by no search, and says why.
        """
        text = plain("query", query)
        if not 1 <= n <= _FOUND_MAX:
            raise PalaceInputError(f"n is how many drawers to find, 1 to {_FOUND_MAX}, not {n}")
        (answer,) = self._memory.drawers.search(
            self._memory.vectors([text]), n=n, collection=collection
        )
        found = [
            {"id": each.id, "content": each.document, "distance": float(each.distance)}
            for each in answer
        ]
        said = [str(each) for each in self._memory.drawers.incomplete.about(collection)]
        return {"found": found, **({"incomplete": said} if said else {})}


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
