"""S3: who may use a collection of texts: only who embeds with the model of its vectors.

Rules:
- A collection records the identity of its model when it is made, in chromadb's own metadata of it,
  so that a copy of the palace says it, too; each row says which model made its vector.
- Compared is the whole identity. The dimension alone, which chromadb compares, is the same in the
  report: two models of 384 dimensions each.
- A collection that records no model may hold vectors of any, and be given some while one looks:
  nobody is let in but a reset, which embeds all of it anew. An empty one is no exception.
- Who is refused is told how to make that reset: by the command that is to be pasted where it can
  make the model, else by the name of the function.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from palace_store.embedding import HashEmbedder, Identity, told_apart
from palace_store.errors import OtherModelError, PalaceInputError
from palace_store.shell import DIMENSION
from palace_store.text_input import EMBEDDING


def reset_call(palace: Path, name: str, ours: Identity) -> str:
    """Return what gives a collection to our model, as words of a shell where there are such."""
    if HashEmbedder(ours.model, ours.dimension).identity != ours:
        return "`palace_store.embedding_reset.reset_embedding`, called with this model"
    words = [str(palace), "--model", ours.model]
    if ours.dimension != DIMENSION:
        words += ["--dimension", str(ours.dimension)]
    return f"`python -m palace_store.embedding_reset {shlex.join([*words, '--collection', name])}`"


def recorded(collection: Any) -> Identity | None:
    """Return the identity a collection records, None where it records none that can be read."""
    word = (collection.metadata or {}).get(EMBEDDING)
    try:
        return Identity.parse(word) if isinstance(word, str) else None
    except PalaceInputError:
        return None


def same(ours: Identity, other: Identity | None) -> bool:
    """Tell whether vectors of the two may be compared with each other."""
    return ours == other


def refuse_other(collection: Any | None, ours: Identity, name: str, palace: Path) -> None:
    """Raise `OtherModelError` if the collection is another model's, or nobody knows whose."""
    if collection is None:
        return
    found = recorded(collection)
    if found is None:
        raise OtherModelError(
            f"collection {name!r} does not record which model made its vectors, and this process "
            f"embeds with {ours}; nothing was changed: embed it anew by "
            f"{reset_call(palace, name, ours)}",
            ours=str(ours),
            recorded="",
        )
    if not same(ours, found):
        theirs, mine = told_apart(found, ours)
        raise OtherModelError(
            f"collection {name!r} has vectors of {theirs}, but this process embeds with {mine}; "
            "nothing was changed: use that model, or give the collection to this one by "
            f"{reset_call(palace, name, ours)}",
            ours=str(ours),
            recorded=str(found),
        )


def refuse_mixed(collection: Any, ours: Identity, name: str, palace: Path) -> None:
    """Raise `OtherModelError` if any drawer of a collection has a vector of another model.

    Reads what every row says, so it is for once a client, not for every search.
    """
    answer = collection.get(where={EMBEDDING: {"$ne": ours.word()}}, limit=1, include=["metadatas"])
    refuse_mixed_rows(zip(answer["ids"], answer["metadatas"], strict=True), ours, name, palace)


def refuse_mixed_rows(
    rows: Iterable[tuple[str, dict[str, Any] | None]], ours: Identity, name: str, palace: Path
) -> None:
    """Raise `OtherModelError` if one of these drawers has a vector of another model."""
    for drawer, metadata in rows:
        word = (metadata or {}).get(EMBEDDING)
        if word == ours.word():
            continue
        try:
            other, mine = told_apart(Identity.parse(str(word)), ours)
        except PalaceInputError:
            other, mine = "", str(ours)
        raise OtherModelError(
            f"drawer {drawer!r} was written with {other or 'a model nobody recorded'} into the "
            f"collection {name!r} of {mine}, so distances say nothing; nothing was changed: embed "
            f"the collection anew by {reset_call(palace, name, ours)}",
            ours=str(ours),
            recorded=other,
        )
