"""S3: giving a collection of texts to another model, while other processes live.

From a shell, for a stand-in model: `python -m palace_store.embedding_reset` (`reset_command`).

Order, so that a death at any point leaves a collection that is all of the old model or all of the
new one, and work that is gone on with when the reset is run again:
    1. be the only reset of the palace (a lock file; the kernel gives it back)
    2. embed every text aside, into a collection of its own, batch by batch: the palace is taken
       for each batch only, and others go on reading and writing with the old model
    3. once there is hardly anything left: take the palace, embed what has been written meanwhile,
       and exchange the names of the two collections, in one transaction of SQLite
    4. delete the old collection
From 3 on whoever embeds with the old model is refused, reading and writing, both models named.

With the fix off this is what people do by hand: each row's vector is replaced where it is, so a
search in between compares vectors of two models, and a death leaves both.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from palace_store import collection_exchange as exchange
from palace_store.client import existing, in_parts, present
from palace_store.embedding import Identity, vectors_of
from palace_store.embedding_gate import recorded
from palace_store.errors import PalaceInputError, SingleWriterError
from palace_store.retention import database
from palace_store.sqlite_lock import lock_file
from palace_store.state import DIRECTORY
from palace_store.text_input import EMBEDDING
from palace_store.texts import TextStore

_LOCK = "reset.lock"
#: After so many rounds over what others have written meanwhile, they are kept waiting.
_ROUNDS_MAX = 3


@dataclass(frozen=True)
class Reset:
    """What a reset did: the model before it ("" if none was recorded), and the texts it embedded.

    Fewer than there are if it went on with what another one had begun.
    """

    before: str
    embedded: int


def reset_embedding(
    store: TextStore,
    *,
    batch: int = 100,
    term_s: float = 600.0,
    on_batch: Callable[[], None] | None = None,
) -> Reset:
    """Embed the store's collection anew with the store's own model; safe to run again at any time.

    `batch` texts are embedded at a time. `term_s` bounds how long others are kept waiting at the
    end; where that is not enough nothing has changed, and it may be run again. `on_batch` is called
    after each batch, while the palace is free. Raises `SingleWriterError`, before any effect, if
    another process is resetting, `PalaceInputError` for drawers without a text.
    """
    if type(batch) is not int or batch < 1:
        raise PalaceInputError(f"batch is a number of texts from 1 on, not {batch!r}")
    if isinstance(term_s, bool) or not isinstance(term_s, int | float) or not term_s > 0:
        raise PalaceInputError(f"term_s is a number of seconds above 0, not {term_s!r:.80}")
    store.prepare_to_write()
    with _alone(store):
        job = _Job(store, batch, on_batch)
        if not store.fixes.has("embedding_reset"):
            return job.in_place()
        return job.aside(term_s)


@contextmanager
def _alone(store: TextStore) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(lock_file(store.session.palace / DIRECTORY / _LOCK))
        except BlockingIOError:
            raise SingleWriterError(
                f"another process gives {store.session.palace} to another embedding model just "
                "now; nothing was changed: wait until it has ended"
            ) from None
        yield


class _Job:
    """One reset of one collection."""

    def __init__(self, store: TextStore, batch: int, on_batch: Callable[[], None] | None) -> None:
        self._store = store
        self._session = store.session
        self._name = store.collection
        self._batch = batch
        self._on_batch = on_batch
        digest = hashlib.sha256(f"{self._name}\0{store.identity.word()}".encode()).hexdigest()
        stem = self._name[:40].rstrip(".")  # chromadb refuses two dots in a row
        self._new = f"{stem}.{digest[:12]}.new"
        self._old = f"{stem}.{digest[:12]}.old"
        self._made = False  # what is aside was begun by this very reset
        self._indexes: dict[str, dict[str, Any]] = {}  # of collections by id: what 0.x wrote once

    def aside(self, term_s: float) -> Reset:
        """Embed aside, then exchange the collections at once."""
        self._delete(lambda name: name != self._new)
        before = self._recorded()
        if before == self._store.identity and self._is_pure():
            self._delete(lambda _: True)
            return Reset(str(before), 0)
        embedded = 0
        try:
            for _ in range(_ROUNDS_MAX):
                done = self._round()
                embedded += done
                if done <= self._batch:
                    break
        except PalaceInputError:
            self._delete(lambda _: self._made)
            raise
        with self._session.hold(term_s):
            embedded += self._round(quietly=True)
            self._exchange()
        self._delete(lambda _: True)
        return Reset("" if before is None else str(before), embedded)

    def in_place(self) -> Reset:
        """Replace the vector of each row where it is."""
        before = self._recorded()
        ids = self._ids(self._name)
        for part in in_parts(ids, self._batch):
            self._embed_into(self._name, self._rows(self._name, part))
            self._after_batch()
        with self._session.apart(changes=True), database(self._session.palace) as connection:
            exchange.label(connection, self._name, self._store.labelled({}))
        return Reset("" if before is None else str(before), len(ids))

    def _round(self, *, quietly: bool = False) -> int:
        """Bring what is aside up to date; returns how many texts were embedded."""
        ids = self._ids(self._name)
        self._make_aside()
        surplus = sorted(set(self._ids(self._new)) - set(ids))
        for part in in_parts(surplus):
            with self._session.changing(self._new) as client:
                exchange.original(client, self._new).delete(ids=part)
        embedded = 0
        for page in in_parts(ids):
            rows, there = self._rows(self._name, page), self._rows(self._new, page)
            differ = [each for each, row in rows.items() if there.get(each) != row]
            for part in in_parts(differ, self._batch):
                self._embed_into(self._new, {each: rows[each] for each in part})
                embedded += len(part)
                if not quietly:
                    self._after_batch()
        return embedded

    def _after_batch(self) -> None:
        if self._on_batch is not None:
            self._on_batch()

    def _recorded(self) -> Identity | None:
        with self._session.reading(None) as client:
            return recorded(exchange.original(client, self._name))

    def _is_pure(self) -> bool:
        """Tell whether every row says that its vector is of the store's model."""
        return self._store.models().keys() <= {self._store.identity.word()}

    def _ids(self, name: str) -> list[str]:
        with self._session.reading(name) as client:
            found = existing(client, name)
            return [] if found is None else list(found.get(include=[])["ids"])

    def _rows(self, name: str, ids: list[str]) -> dict[str, tuple[str, dict[str, Any]]]:
        """Return text and metadata of these rows, the model of the vector left out."""
        with self._session.reading(name) as client:
            found = exchange.original(client, name).get(ids=ids, include=["documents", "metadatas"])
        rows = {}
        for each, text, row in zip(*(found[key] for key in ("ids", "documents", "metadatas"))):  # noqa: B905 (columns of one answer)
            if not text:
                raise PalaceInputError(
                    f"drawer {each!r} of {name!r} has no text that a model could embed; nothing "
                    "was changed: delete it, or move it to a collection of its own"
                )
            kept = {key: value for key, value in (row or {}).items() if key != EMBEDDING}
            rows[each] = (text, kept)
        return rows

    def _embed_into(self, name: str, rows: dict[str, tuple[str, dict[str, Any]]]) -> None:
        vectors = vectors_of(self._store.embedder, {each: text for each, (text, _) in rows.items()})
        with self._session.changing(name) as client:
            found = exchange.original(client, name)
            kept = present(found, list(rows)) if name == self._name else rows.keys()
            ids = [each for each in rows if each in kept]  # in place: not what was deleted since
            if ids:
                found.upsert(
                    ids=ids,
                    embeddings=[vectors[each] for each in ids],
                    documents=[rows[each][0] for each in ids],
                    metadatas=[self._store.labelled(rows[each][1]) or None for each in ids],
                )

    def _make_aside(self) -> None:
        with self._session.reading(None) as client:
            ident = str(exchange.original(client, self._name).id)
        if ident not in self._indexes:  # costs a reopened client
            with self._session.apart(), database(self._session.palace) as connection:
                self._indexes[ident] = exchange.index_of_segment(connection, ident)
        with self._session.reading(None) as client:
            there = existing(client, self._new)
            wanted = exchange.settings_of(
                exchange.original(client, self._name), self._indexes[ident]
            )
            labels = {exchange.ASIDE_FOR: self._name}
            wanted["metadata"] = {**self._store.labelled(wanted["metadata"]), **labels}
            if there is not None and exchange.settings_of(there) == wanted:
                return
        with self._session.changing(self._new) as client:
            if existing(client, self._new) is not None:
                client.delete_collection(self._new)  # the one it is to replace was made anew
            client.create_collection(self._new, **wanted, embedding_function=None)
            self._made = True

    def _exchange(self) -> None:
        """Let the new collection take the old one's place."""
        with self._session.apart(changes=True), database(self._session.palace) as connection:
            exchange.exchange(connection, self._name, new=self._new, old=self._old)

    def _delete(self, which: Callable[[str], bool]) -> None:
        """Delete what resets of this collection have left behind."""
        with self._session.reading(None) as client:
            left = [name for name in exchange.collections_aside(client, self._name) if which(name)]
        for name in left:
            with self._session.changing(name) as client:
                if existing(client, name) is not None:
                    client.delete_collection(name)


if __name__ == "__main__":
    from palace_store.reset_command import main

    sys.exit(main(sys.argv[1:]))
