"""Operations on drawers, the same for every library that keeps them; libraries add primitives.

A drawer is known by its number; its id, text and vector follow from number, revision and seed
(`workloads.vectors`), so nothing but numbers crosses between processes. With the option `wings` the
drawers lie in so many wings, in turn.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from palace_lab.targets.base import Context, Target
from palace_lab.workloads.vectors import document, drawer_id, drawer_number, revision_of, vector
from palace_store.embedding import HashEmbedder

#: Vectors a query; one that fails is repeated one by one to see whose fault it is.
_QUERY_SIZE = 50
#: How wide the second look is for a drawer that was not its own nearest neighbour.
_WIDE_N = 100


class DrawersTarget(Target):
    """Drawers of one collection of one palace; subclasses say how to reach them."""

    RECORDS_ITSELF = frozenset({"write", "delete"})

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.collection = str(context.options.get("collection", "drawers"))
        self.dimension = int(context.options.get("dimension", 16))
        self.space = str(context.options.get("space", "cosine"))
        self.sync_threshold = int(context.options.get("sync_threshold", 1000))
        self.batch_size = int(context.options.get("batch_size", 100))
        self.wings = int(context.options.get("wings", 0))
        embedded = bool(context.options.get("embedded"))
        self._model = HashEmbedder(dimension=self.dimension) if embedded else None

    # -- primitives ------------------------------------------------------------------------

    def open(self) -> None:
        """Open the palace."""
        raise NotImplementedError

    def put(self, how: str, ids: list[str], vectors: list[list[float]], texts: list[str]) -> None:
        """Add or upsert drawers in one call of the library."""
        raise NotImplementedError

    def remove(self, ids: list[str]) -> None:
        """Delete drawers in one call of the library."""
        raise NotImplementedError

    def stored_ids(self) -> list[str]:
        """Return every id the library lists."""
        raise NotImplementedError

    def nearest(self, vectors: list[list[float]], n: int) -> list[list[str]]:
        """Return for each vector the ids of its nearest drawers."""
        raise NotImplementedError

    def answers(self, vectors: list[list[float]], n: int) -> list[int]:
        """Search as an application does, for all it shows its user; returns how many came."""
        return [len(ids) for ids in self.nearest(vectors, n)]

    def count(self) -> int:
        """Return how many drawers the library counts."""
        raise NotImplementedError

    def texts(self) -> dict[str, str | None]:
        """Return the text under each id; none where a library cannot say."""
        return {}

    # -- operations of a plan --------------------------------------------------------------

    def write(
        self, *, first: int, count: int, batch: int = 1, how: str = "add", revision: int = 0
    ) -> dict[str, int]:
        """Write drawers `first` to `first + count - 1`, `batch` in a call of the library.

        Stops at the first call that does not succeed, as its history says.
        """
        for start in range(first, first + count, batch):
            numbers = range(start, min(start + batch, first + count))
            with self.call(how, first=start, count=len(numbers), revision=revision):
                self.put(
                    how,
                    [drawer_id(number) for number in numbers],
                    [self.vector(number, revision) for number in numbers],
                    [document(number, revision) for number in numbers],
                )
        return {"written": count}

    def delete(self, *, first: int, count: int, batch: int = 1) -> dict[str, int]:
        """Delete drawers, `batch` in a call of the library."""
        for start in range(first, first + count, batch):
            numbers = range(start, min(start + batch, first + count))
            with self.call("delete", first=start, count=len(numbers)):
                self.remove([drawer_id(number) for number in numbers])
        return {"deleted": count}

    # -- operations of an observer ---------------------------------------------------------

    def opened(self) -> dict[str, float]:
        """Open the palace and count; says how long that took, in seconds."""
        began = time.monotonic()
        self.open()
        return {"count": self.count(), "seconds": round(time.monotonic() - began, 4)}

    def listed(self) -> dict[str, list[Any]]:
        """Return the numbers of all drawers listed, ids that no workload made, and texts.

        `revisions` has `[number, revision]` of each text; revision -1 is a text that no workload
        wrote for that drawer.
        """
        numbers, foreign = [], []
        for name in self.stored_ids():
            number = drawer_number(name)
            if number is None:
                foreign.append(name)
            else:
                numbers.append(number)
        revisions = [
            [number, revision_of(number, text)]
            for name, text in self.texts().items()
            if (number := drawer_number(name)) is not None
        ]
        return {
            "numbers": sorted(numbers),
            "foreign": sorted(foreign),
            "revisions": sorted(revisions),
        }

    def found(self, *, wanted: Sequence[Sequence[int]]) -> dict[str, Any]:
        """Look each `[number, revision, …]` up by its own vector of each of these revisions.

        Returns the numbers whose first revision did not come first (`second_look`), those no
        revision of which is among its nearest 100 (`missing`), and what chromadb said where a
        query itself failed.
        """
        errors: dict[str, int] = {}
        doubtful = self._not_first(wanted, errors)
        missing = [row[0] for row in doubtful if not self._within(row, errors)]
        return {
            "looked_up": len(wanted),
            "second_look": sorted(row[0] for row in doubtful),
            "missing": sorted(missing),
            "errors": errors,
        }

    def _not_first(
        self, rows: Sequence[Sequence[int]], errors: dict[str, int]
    ) -> list[Sequence[int]]:
        left: list[Sequence[int]] = []
        for start in range(0, len(rows), _QUERY_SIZE):
            part = rows[start : start + _QUERY_SIZE]
            try:
                answers = self.nearest([self.vector(row[0], row[1]) for row in part], 1)
            except Exception as error:  # noqa: BLE001  (counted, and looked at one by one)
                _count(errors, error)
                left.extend(part)
                continue
            for row, ids in zip(part, answers, strict=True):
                if ids[:1] != [drawer_id(row[0])]:
                    left.append(row)
        return left

    def _within(self, row: Sequence[int], errors: dict[str, int]) -> bool:
        for revision in row[1:]:
            try:
                (ids,) = self.nearest([self.vector(row[0], revision)], _WIDE_N)
            except Exception as error:  # noqa: BLE001  (counted; this drawer is not findable)
                _count(errors, error)
                continue
            if drawer_id(row[0]) in ids:
                return True
        return False

    def labels(self, ids: Sequence[str]) -> list[dict[str, str]] | None:
        """Return the metadata of drawers: the wing each lies in, if there are wings."""
        if not self.wings:
            return None
        return [{"wing": f"wing-{int(name[1:]) % self.wings}"} for name in ids]

    def vector(self, number: int, revision: int) -> list[float]:
        """Return the drawer's vector in this palace's dimension."""
        if self._model is not None:
            return [float(value) for value in self._model.embed([document(number, revision)])[0]]
        return vector(self.context.seed, number, self.dimension, revision=revision)


def _count(errors: dict[str, int], error: Exception) -> None:
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
    errors[text] = errors.get(text, 0) + 1
