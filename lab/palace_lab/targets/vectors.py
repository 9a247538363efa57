"""Whose vectors a palace's texts have: read from its files without chromadb, and compared (S3).

Each vector that a search would meet is compared with what every model of the plans makes of the
same text; what the row and the collection say of it is read beside it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from palace_lab.targets.base import Context, Target
from palace_lab.workloads.texts import COLLECTION, MODELS, content
from palace_store.anatomy import survey
from palace_store.embedding import HashEmbedder, Identity
from palace_store.errors import PalaceInputError
from palace_store.text_input import EMBEDDING

#: A vector is a model's if it points where the model's does; two models' do so by chance hardly.
_SAME_COSINE = 0.999

_ROWS = (
    "SELECT e.embedding_id, m.string_value FROM embeddings e JOIN segments s ON s.id = e.segment_id"
    " JOIN collections c ON c.id = s.collection"
    " LEFT JOIN embedding_metadata m ON m.id = e.id AND m.key = ? WHERE c.name = ?"
)
_RECORDED = (
    "SELECT m.str_value FROM collection_metadata m JOIN collections c ON c.id = m.collection_id"
    " WHERE m.key = ? AND c.name = ?"
)


class VectorsTarget(Target):
    """Reads the vectors of one palace's texts; never writes to it.

    Another collection says its name, and the ids and texts of its numbers.
    """

    COLLECTION = COLLECTION

    def id_of(self, number: int) -> str:
        """Return the id of the row with this number."""
        return content(number).id

    def text_of(self, number: int) -> str:
        """Return the text with this number."""
        return content(number).text

    def models(self, *, numbers: list[int]) -> dict[str, Any]:
        """Return, of the texts with these numbers that have a row, whose vector each has.

        `models` maps a model to its numbers, `unknown` are of none of the plans' models,
        `without_vector` have no vector, `mislabelled` a row that names another model than its
        vector's, or another revision or dimension of it, `unlabelled` one that names none.
        `recorded` is the model the collection names, "" for none.
        """
        ids = {self.id_of(number): number for number in numbers}
        labels, word = _labels(self.context.palace, self.COLLECTION)
        answer: dict[str, Any] = {
            "models": {},
            "unknown": [],
            "without_vector": [],
            "mislabelled": [],
            "unlabelled": [],
            "recorded": _named(word),
        }
        if labels is None:
            return answer
        found = survey(self.context.palace, deep=False).collection(self.COLLECTION)
        vectors = found.served_vectors()
        made = dict(zip(vectors.ids, vectors.matrix, strict=True))
        answer["recorded"] = _named(word, vectors.matrix.shape[1] if made else None)
        known = [
            name for name in labels if name in ids
        ]  # others are reported where they are listed
        for name in sorted(known, key=ids.__getitem__):
            number, label = ids[name], labels[name]
            if name not in made:
                answer["without_vector"].append(number)
                continue
            model = _model_of(self.text_of(number), made[name])
            if model is None:
                answer["unknown"].append(number)
                continue
            answer["models"].setdefault(model, []).append(number)
            if not label:
                answer["unlabelled"].append(number)
            elif _named(label, len(made[name])) != model:
                answer["mislabelled"].append(number)
        return answer


def _model_of(text: str, vector: np.ndarray[Any, np.dtype[np.float32]]) -> str | None:
    length = float(np.linalg.norm(vector))
    for model in MODELS:
        (own,) = HashEmbedder(model, len(vector)).embed([text])
        if length and float(own @ vector) / length > _SAME_COSINE:
            return model
    return None


def _labels(palace: Path, collection: str) -> tuple[dict[str, str] | None, str]:
    """Return what each row says of its model, None without the collection; and the collection."""
    with closing(sqlite3.connect(f"file:{palace / 'chroma.sqlite3'}?mode=ro", uri=True)) as db:
        known = db.execute("SELECT 1 FROM collections WHERE name = ?", (collection,)).fetchone()
        rows = db.execute(_ROWS, (EMBEDDING, collection)).fetchall()
        word = db.execute(_RECORDED, (EMBEDDING, collection)).fetchone()
    labels = {name: label or "" for name, label in rows} if known else None
    return labels, word[0] if word else ""


def _named(word: str, dimension: int | None = None) -> str:
    """Return the model a word names, if that is one of the plans as it stands; else all of it."""
    if not word:
        return ""
    try:
        found = Identity.parse(word)
    except PalaceInputError:
        return f"unreadable: {word}"
    meant = HashEmbedder(found.model, dimension or found.dimension).identity
    return found.model if found == meant else str(found)


def target(context: Context) -> VectorsTarget:
    """Return the target for the worker loop."""
    return VectorsTarget(context)
