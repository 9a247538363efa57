"""S1: every vector that a file of a palace still surely holds, and the ids of those that none does.

For a palace whose log was purged: what the log lacks may be in the index, torn or whole, or in a
directory that the published fix renamed (`<uuid>.drift-*`). Rules:
- The log wins. An addition in it counts only if it cannot have been ignored, because the id was
  there already: no index knows the id, or the row's last change is that addition.
- A row that the log deletes, and has no vector of since, was written again by a change that the log
  has lost: the vector an index may still have is of before.
- From an index come the vectors of labels that its pickle knows, be the rest of it torn, or its
  header gone.
- An index that two processes wrote gives vectors of other ids, without any sign in them (of 105 to
  109 read, 18 to 43 were another id's). Its traces are rows below the watermark that no index
  knows, labels given twice, and vectors that differ from the log's. With one of these, no index
  counts, and what only they hold is listed as lost. Nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from palace_store.anatomy.collection_survey import CollectionSurvey
from palace_store.anatomy.headless import read_without_header, without_unwritten
from palace_store.anatomy.hnsw_files import Segment, read_segment
from palace_store.anatomy.records import DELETE
from palace_store.anatomy.replay import IN_INDEX, decode_vector

#: What the published fix puts behind the UUID of a directory that it renames.
DRIFT = "drift"

#: The length of a stored unit vector differs from 1 by less (measured: 2e-7); of a torn one, more.
_TOLERANCE = 1e-3
#: Beyond these a length, squared, is no number of float32 any more, so that chromadb kept none.
_LENGTH_MIN, _LENGTH_MAX = 1e-18, 1e18


@dataclass(frozen=True)
class Salvage:
    """Where the vectors of one collection are that a file surely holds."""

    each: CollectionSurvey
    indexes: tuple[Segment, ...]  # the live one first, then those set aside, newest first

    @classmethod
    def of(cls, palace: Path, each: CollectionSurvey) -> Salvage:
        """Look for a collection's vectors in all of the palace's files."""
        live, name = each.segment, each.collection.vector_segment
        drifted = sorted(palace.glob(f"{name}.{DRIFT}-*"), reverse=True) if live else []
        aside = [
            without_unwritten(read_segment(path, deep=False)) for path in drifted if path.is_dir()
        ]
        shape = each.dimension, each.collection.settings.neighbours
        found = [
            read_without_header(found, *shape)
            for found in (live, *aside)
            if found is not None and found.files
        ]
        # Unread, the live index may have had a newer vector than one that was set aside.
        readable = not found or found[0].index is not None
        return cls(each, tuple(found) if readable and _trusted(each, found) else ())

    def vectors(self, names: Iterable[str]) -> Mapping[str, npt.NDArray[np.float32]]:
        """Return what was written last for these rows, without those whose vector is lost."""
        each, found = self.each, {}
        deleted = {record.id for record in each.collection.log if record.operation == DELETE}
        for name in names:
            vector = self._from_log(name)
            for index in () if vector is not None or name in deleted else self.indexes:
                if name in index.located:
                    vector = _intact(index, name, cosine=each.collection.settings.space == "cosine")
                if name in index.id_to_label:
                    break  # an older index knows an older vector at best
            if vector is not None:
                found[name] = vector
        return found

    def _from_log(self, name: str) -> npt.NDArray[np.float32] | None:
        each = self.each
        position = each.replayed.vectors.get(name)
        if position is None:
            return None
        if name not in each.replayed.certain:
            purged = each.vector_watermark is not None
            known = any(name in index.id_to_label for index in self.indexes)
            if purged and (known or not self.indexes):
                return None
        return decode_vector(each.collection.log[position], each.dimension)


def _trusted(each: CollectionSurvey, indexes: list[Segment]) -> bool:
    known = {name for index in indexes for name in index.id_to_label}
    kinds = {finding.kind for finding in each.findings}
    return (
        (each.beyond_all or ("vector-mismatch" not in kinds and _knows_all(each, known)))
        and "dimension-mismatch" not in kinds
        and all(
            index.header is None or index.header.dimension == each.dimension for index in indexes
        )
        and all(_labelled_once(index) for index in indexes)
    )


def _knows_all(each: CollectionSurvey, known: set[str]) -> bool:
    return all(
        seq_id > each.vector_start or name in known or each.served.get(name, IN_INDEX) >= 0
        for name, seq_id in each.rows.items()
    )


def _labelled_once(index: Segment) -> bool:
    given = set(index.id_to_label.values())
    seen = [label for label in index.labels.tolist() if label in given]
    return len(seen) == len(set(seen)) and len(given) == len(index.id_to_label)


def _intact(index: Segment, name: str, *, cosine: bool) -> npt.NDArray[np.float32] | None:
    """Return a vector as it was written, None where a torn record holds something else."""
    stored: npt.NDArray[np.float32] = index.vectors([name])[0]
    if not np.isfinite(stored).all():
        return None
    if not cosine:
        return stored
    if abs(float(np.linalg.norm(stored.astype(np.float64))) - 1) > _TOLERANCE:
        return None
    restored: npt.NDArray[np.float32] = index.vectors([name], lengths_restored=True)[0]
    length = float(np.dot(restored.astype(np.float64), stored.astype(np.float64)))
    usable = _LENGTH_MIN < length < _LENGTH_MAX
    return restored if usable else stored  # a torn length takes no direction away
