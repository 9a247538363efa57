"""Tools on drawers: remember, keep a diary, mine a folder, search.

A tool's docstring is what an agent reads of it.
"""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Literal

from palace_store.drawers import Drawer
from palace_store.errors import PalaceInputError
from palace_store.server.memory import Memory, plain
from palace_store.server.mining import survey
from palace_store.validation import check_name

DRAWERS, DIARY = "drawers", "diary"
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

        The same text in the same place is remembered once, so a call may be repeated: `new` is
        false where it was there already. With an `id` that holds another text already the call is
        refused.
        """
        text = plain("content", content)
        place = {"wing": plain("wing", wing, least=0), "room": plain("room", room, least=0)}
        row = {key: value for key, value in place.items() if value}
        if id is not None:
            plain("id", id)
        if not self._memory.claims:
            name = _drawer_id(text, place) if id is None else id
            self._memory.keep([name], [text], [row])
            if id is not None:
                _refuse_another(self._memory.drawers.get([name]), text)
            return {"id": name}
        forms = (_in_form("NFC", text), text, _in_form("NFD", text))  # others may be there of old
        ids = list(dict.fromkeys(_drawer_id(form, place) for form in forms)) if id is None else [id]
        kept, new = self._memory.claim(ids, text, row)
        _refuse_another([kept], text)
        return {"id": kept.id, "new": new}

    def diary_write(self, entry: str, agent: str = "agent") -> dict[str, Any]:
        """Write one entry into the diary of an agent."""
        text = plain("entry", entry)
        written = datetime.now(timezone.utc).isoformat(timespec="microseconds")
        name = f"diary-{secrets.token_hex(16)}"
        row = {"agent": plain("agent", agent), "written": written}
        self._memory.keep([name], [text], [row], DIARY)
        return {"id": name, "written": written}

    def mine(self, folder: str) -> dict[str, Any]:
        """Remember every text file below a folder, in pieces; repeating it adds what is new.

        `drawers` is how many pieces the files have, `new` how many of them were not there before.
        """
        found = survey(folder, self._memory.palace)
        new = 0
        for start in range(0, len(found.pieces), _BATCH):
            part = found.pieces[start : start + _BATCH]
            new += self._memory.keep_new(
                [piece.id for piece in part],
                [piece.text for piece in part],
                [{"source_file": piece.source} for piece in part],
            )
        shown = dict(list(found.skipped.items())[:_SHOWN])
        return {
            "files": found.files,
            "drawers": len(found.pieces),
            "new": new,
            "passed_over": len(found.skipped),
            "for_example": shown,
        }

    def search(self, query: str, n: int = 5, collection: str = "drawers") -> dict[str, Any]:
        """Find the drawers whose text is nearest to the query; `collection` may be "diary".

        A collection that nobody has made is refused, but for these two, which have nothing then.
        `incomplete` is there only if some drawers are known to be found by no search, and says why.
        """
        text = plain("query", query)
        if not 1 <= n <= _FOUND_MAX:
            raise PalaceInputError(f"n is how many drawers to find, 1 to {_FOUND_MAX}, not {n}")
        self._refuse_unknown(collection)
        (answer,) = self._memory.drawers.search(
            self._memory.vectors([text]), n=n, collection=collection
        )
        found = [
            {"id": each.id, "content": each.document, "distance": float(each.distance)}
            for each in answer
        ]
        said = [str(each) for each in self._memory.drawers.incomplete.about(collection)]
        return {"found": found, **({"incomplete": said} if said else {})}

    def _refuse_unknown(self, collection: str) -> None:
        usual = {DRAWERS, DIARY}
        if check_name(collection) in usual:
            return  # most searches: nothing is asked of the palace
        known = usual.union(self._memory.drawers.collections())
        if collection not in known:
            shown = ", ".join(sorted(known)[:_SHOWN])
            raise PalaceInputError(f"there is no collection {collection!r}: search one of {shown}")


def _drawer_id(text: str, place: Mapping[str, str]) -> str:
    spelled = "\0".join((text, *place.values()))
    return f"drawer-{hashlib.sha256(spelled.encode()).hexdigest()[:32]}"


def _in_form(form: Literal["NFC", "NFD"], text: str) -> str:
    return unicodedata.normalize(form, text)


def _refuse_another(kept: Sequence[Drawer], text: str) -> None:
    """Refuse a text under an id that holds another one; forms of Unicode are the same text."""
    if kept and _in_form("NFC", kept[0].document or "") != _in_form("NFC", text):
        raise PalaceInputError(
            f"drawer {kept[0].id!r:.80} holds another text; nothing was changed: take another id"
        )
