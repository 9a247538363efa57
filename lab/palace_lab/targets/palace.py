"""Our own library, with the set of fixes the plan names.

`trim_slack_bytes` brings trims into a short trial. `wrong` makes the deliberately wrong variants on
which a guard has to fail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from palace_lab.targets.base import Context, wrong_variant
from palace_lab.targets.drawers import DrawersTarget
from palace_lab.workloads.vectors import drawer_number
from palace_store import trimming
from palace_store.anatomy.records import LogRecord
from palace_store.drawers import DrawerStore
from palace_store.fixes import Fixes
from palace_store.text_input import EMBEDDING

#: How long a worker waits for the palace, in seconds before time scaling.
_LEASE_TIMEOUT_S = 60.0
#: Wrong variants by name, with what is wrong about them.
WRONG = {
    "trims-too-much": "a record that the index has taken up is trimmed, though a rebuild needs it",
}


class ClientThrashError(Exception):
    """The client was opened anew more often than the plan allows up to this point."""


def _every(log: Sequence[LogRecord], rows: Mapping[str, int | None]) -> set[int]:
    del rows  # it heeds neither them nor what a rebuild needs
    return {each.seq_id for each in log}


class PalaceTarget(DrawersTarget):
    """One `DrawerStore` on one palace."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        wrong = wrong_variant(context, WRONG)
        if wrong == "trims-too-much":
            trimming.superseded = _every
        trimming.SLACK_BYTES = int(context.options.get("trim_slack_bytes", trimming.SLACK_BYTES))
        self.store = DrawerStore(
            context.palace,
            fixes=Fixes.parse(context.fixes),
            lease_timeout_s=float(context.options.get("lease_timeout_s", _LEASE_TIMEOUT_S)),
            space=self.space,
            sync_threshold=self.sync_threshold,
            batch_size=self.batch_size,
        )
        if self._model is not None:  # a server that comes later asks whose its vectors are
            self.store.settings[EMBEDDING] = self._model.identity.word()

    def open(self) -> None:
        """Open the palace now: a server does so when it starts."""
        self.store.open()

    def put(self, how: str, ids: list[str], vectors: list[list[float]], texts: list[str]) -> None:
        """Write through the store."""
        write = self.store.add if how == "add" else self.store.upsert
        labels = self._labels(ids)
        write(ids, vectors, documents=texts, metadatas=labels, collection=self.collection)

    def _labels(self, ids: list[str]) -> list[dict[str, str]] | None:
        labels = self.labels(ids)
        if self._model is None:
            return labels
        model = {EMBEDDING: self._model.identity.word()}
        return [{**label, **model} for label in labels or [{}] * len(ids)]

    def remove(self, ids: list[str]) -> None:
        """Delete through the store."""
        self.store.delete(ids, collection=self.collection)

    def stored_ids(self) -> list[str]:
        """Return every id of the collection."""
        return [drawer.id for drawer in self.store.get(collection=self.collection)]

    def texts(self) -> dict[str, str | None]:
        """Return the document of every drawer."""
        return {drawer.id: drawer.document for drawer in self.store.get(collection=self.collection)}

    def nearest(self, vectors: list[list[float]], n: int) -> list[list[str]]:
        """Search through the store."""
        answers = self.store.search(vectors, n=n, collection=self.collection)
        return [[found.id for found in answer] for answer in answers]

    def answers(self, vectors: list[list[float]], n: int) -> list[int]:
        """Search through the store, which always gives documents and distances."""
        found = self.store.search(vectors, n=n, collection=self.collection)
        return [len(answer) for answer in found]

    def count(self) -> int:
        """Count the collection."""
        return self.store.count(collection=self.collection)

    def unfindable(self) -> dict[str, list[int | None]]:
        """Return the drawers of which the store itself says that no search finds them."""
        ids = self.store.unfindable(collection=self.collection)
        return {"numbers": [drawer_number(name) for name in ids]}

    def measure_reloads(self, *, most: int) -> dict[str, int]:
        """Tell how often the client was opened anew; raises `ClientThrashError` above `most`."""
        reloads = self.store.session.reopened
        if reloads > most:
            raise ClientThrashError(
                f"the client was opened anew {reloads} times, at most {most} are allowed"
            )
        return {"reloads": reloads}

    def close(self) -> None:
        """Close the store."""
        self.store.close()


def target(context: Context) -> PalaceTarget:
    """Return the target for the worker loop."""
    return PalaceTarget(context)
