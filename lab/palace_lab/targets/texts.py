"""Our library's texts: one `TextStore`, with the model and the set of fixes the plan names (S3).

* A process embeds with its option `model`; with `configured` it reads the palace's configuration
  when it opens, once, as a server does; with neither it uses the model the collection records.
* `wrong` makes the deliberately wrong variants on which a guard has to fail.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from palace_lab.targets.base import Context, Target, describe, wrong_variant
from palace_lab.workloads.texts import COLLECTION, MODELS, content, number_of
from palace_store import embedding_gate
from palace_store.embedding import HashEmbedder
from palace_store.embedding_config import read_configuration, write_configuration
from palace_store.embedding_reset import reset_embedding
from palace_store.fixes import Fixes
from palace_store.texts import Hit, TextStore

#: Wrong variants by name, with what is wrong about them.
WRONG = {"dimension-only": "models are told apart by the dimension of their vectors alone"}
#: How long a worker waits for the palace, in seconds before time scaling.
_LEASE_TIMEOUT_S = 60.0
#: How wide the second look is for a text that was not its own nearest neighbour.
_WIDE_N = 100
#: Two models give distances that differ by far more; an index computes in 32 bits.
_CLOSE = 1e-3


class TextsTarget(Target):
    """One process's view of the texts of one palace; `reset` pauses at "between-batches"."""

    RECORDS_ITSELF = frozenset({"write", "delete"})

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        options = context.options
        wrong = wrong_variant(context, WRONG)
        if wrong == "dimension-only":
            embedding_gate.same = lambda ours, other: (
                other is not None and (ours.dimension == other.dimension)
            )
        self._model = options.get("model")
        self._configured = bool(options.get("configured"))
        self._dimension = int(options.get("dimension", 64))
        self._store: TextStore | None = None

    def open(self) -> None:
        """Open the palace now, with the model this process will go on with."""
        path = self._configuration
        model = read_configuration(path).model if self._configured else self._model
        options = self.context.options
        self._store = TextStore(
            self.context.palace,
            HashEmbedder(model or MODELS[0], self._dimension),
            collection=COLLECTION,
            config=path if self._configured else None,
            fixes=Fixes.parse(self.context.fixes),
            lease_timeout_s=float(options.get("lease_timeout_s", _LEASE_TIMEOUT_S)),
            sync_threshold=int(options.get("sync_threshold", 1000)),
            batch_size=int(options.get("batch_size", 100)),
        )
        self._store.open()
        recorded = self._store.recorded()
        if model is None and recorded is not None:
            self._store.embedder = HashEmbedder(recorded.model, recorded.dimension)

    def close(self) -> None:
        """Close the store."""
        if self._store is not None:
            self._store.close()

    # -- operations of a plan --------------------------------------------------------------

    def write(self, *, first: int, count: int, batch: int = 1) -> dict[str, Any]:
        """Store texts `first` to `first + count - 1`; says which this process was told it stored.

        Stops at the first call that does not succeed, as its history says.
        """
        new: list[int] = []
        for start in range(first, first + count, batch):
            numbers = range(start, min(start + batch, first + count))
            with self.call("add", first=start, count=len(numbers)):
                stored = self._opened().add([content(number) for number in numbers])
            new += [number for number, each in zip(numbers, stored, strict=True) if each.new]
        return {"written": count, "new": new}

    def delete(self, *, first: int, count: int) -> dict[str, int]:
        """Delete texts in one call."""
        with self.call("delete", first=first, count=count):
            self._opened().delete([content(n).id for n in range(first, first + count)])
        return {"deleted": count}

    def configure(self, *, model: str) -> dict[str, str]:
        """Write another model into the palace's configuration, as its owner does with an editor."""
        identity = HashEmbedder(model, self._dimension).identity
        write_configuration(self._configuration, identity)
        return {"configured": str(identity)}

    def reset(self, *, batch: int = 10) -> dict[str, Any]:
        """Give the collection to this process's model."""
        done = reset_embedding(
            self._opened(), batch=batch, on_batch=lambda: self.context.pause("between-batches")
        )
        return {"before": done.before, "embedded": done.embedded}

    def neighbours(self, *, numbers: list[int], n: int = 3) -> dict[str, Any]:
        """Search by these texts, which are there, and look whether what comes is of our model.

        `astray` are the texts that did not find themselves first, `foreign` the texts that were
        given a neighbour at a distance that their own model does not give.
        """
        astray, foreign = [], []
        for number in numbers:
            hits = self._opened().search(content(number).text, n=n)
            if [hit.id for hit in hits[:1]] != [content(number).id]:
                astray.append(number)
            if not np.allclose([hit.distance for hit in hits], self._distances(number, hits),
                               atol=_CLOSE):  # fmt: skip
                foreign.append(number)
        return {"asked": len(numbers), "astray": astray, "foreign": foreign}

    def _distances(self, number: int, hits: list[Hit]) -> list[float]:
        embedder = self._opened().embedder
        query, *found = embedder.embed([content(number).text, *(hit.text for hit in hits)])
        return [1 - float(query @ vector) for vector in found]

    # -- operations of an observer ---------------------------------------------------------

    def opened(self) -> dict[str, float]:
        """Open the palace and count; says how long that took, in seconds."""
        began = time.monotonic()
        self.open()
        count = self._opened().count()
        return {"count": count, "seconds": round(time.monotonic() - began, 4)}

    def listed(self) -> dict[str, list[Any]]:
        """Return the numbers of all texts listed, and those that no workload made."""
        rows = self._opened().get()
        numbers = [(number_of(row), row.text) for row in rows]
        return {
            "numbers": sorted(number for number, _ in numbers if number is not None),
            "foreign": sorted(text for number, text in numbers if number is None),
            "revisions": [],
        }

    def found(self, *, wanted: Sequence[Sequence[int]]) -> dict[str, Any]:
        """Look each text up by itself; see `DrawersTarget.found`."""
        errors: dict[str, int] = {}
        second_look, missing = [], []
        for number in (row[0] for row in wanted):
            if not self._comes(number, 1, errors):
                second_look.append(number)
                if not self._comes(number, _WIDE_N, errors):
                    missing.append(number)
        return {
            "looked_up": len(wanted),
            "second_look": second_look,
            "missing": missing,
            "errors": errors,
        }

    def _comes(self, number: int, n: int, errors: dict[str, int]) -> bool:
        wanted = content(number)
        try:
            return wanted.id in [hit.id for hit in self._opened().search(wanted.text, n=n)]
        except Exception as error:  # noqa: BLE001  (counted; this text is not findable)
            said = describe(error)[:300]
            errors[said] = errors.get(said, 0) + 1
            return False

    @property
    def _configuration(self) -> Path:
        return self.context.palace / "embedding.json"

    def _opened(self) -> TextStore:
        if self._store is None:
            raise RuntimeError(
                "the palace is not open: the plan must open it in this process first"
            )
        return self._store


def target(context: Context) -> TextsTarget:
    """Return the target for the worker loop."""
    return TextsTarget(context)
