"""S3: gives a palace to another model from a shell, while servers live (`embedding_reset`).

    python -m palace_store.embedding_reset PALACE --model NAME

with its own chromadb. `--model` and `--dimension` are `palace-server`'s, `--collection` names one
collection (may be repeated); without it all of them are embedded anew, one after the other. Killed
or interrupted it leaves each collection all of one model; the same command then goes on.

Standard output has one line of JSON, if anything was done: for each collection the model `before`
("" if none was recorded), how many texts were `embedded` by this call, and its number of `rows`.
Exit codes: 0; 1 the palace was refused, and any collection that is not in that line is as it was;
2 there is no such palace or collection, or the words make no sense; 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

from palace_store.client import existing, names_of
from palace_store.collection_exchange import ASIDE_FOR
from palace_store.drawers import DrawerStore
from palace_store.embedding import HashEmbedder
from palace_store.embedding_config import chosen
from palace_store.embedding_reset import reset_embedding
from palace_store.errors import PalaceError, PalaceInputError
from palace_store.shell import (
    INTERRUPTED,
    REFUSED,
    USAGE,
    beyond_help,
    check_palace,
    let_the_library_speak,
    reset_parser,
)
from palace_store.texts import TextStore

Done = dict[str, dict[str, object]]


def main(words: list[str]) -> int:
    """Give the palace named to the model named; return an exit code."""
    options = reset_parser().parse_args(words)
    let_the_library_speak()
    done: Done = {}
    try:
        try:
            names = _names(options.palace, options.collection)
            embedder = chosen(options.model, options.dimension)
        except PalaceInputError as error:
            return _refuse(error, USAGE)
        try:
            for name in names:
                done[name] = _reset(options.palace, embedder, name, options.batch)
        finally:
            if done or not names:
                print(json.dumps(done), flush=True)
    except PalaceError as error:
        return _refuse(error, REFUSED)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001  (of whichever chromadb this is)
        print(beyond_help(options.palace, error), file=sys.stderr)
        return REFUSED
    return 0


def _reset(palace: str, embedder: HashEmbedder, name: str, batch: int) -> dict[str, object]:
    batches = 0

    def told() -> None:
        nonlocal batches
        batches += 1
        print(
            f"{name}: {batches} batches of up to {batch} texts embedded",
            file=sys.stderr,
            flush=True,
        )

    with TextStore(palace, embedder, collection=name) as store:
        made = reset_embedding(store, batch=batch, on_batch=told)
        return {"before": made.before, "embedded": made.embedded, "rows": store.count()}


def _names(palace: str, wanted: Iterable[str] | None) -> list[str]:
    """Return the collections to be given away, those that a reset has left aside not among them."""
    with DrawerStore(check_palace(palace)) as store, store.session.reading(None) as client:
        metadata = {
            name: getattr(existing(client, name), "metadata", None) or {}
            for name in names_of(client)
        }
    names = sorted(name for name, said in metadata.items() if ASIDE_FOR not in said)
    if missing := sorted(set(wanted or ()) - set(names)):
        known = ", ".join(names) or "none"
        raise PalaceInputError(
            f"{palace} has no collection {missing[0]!r:.80}; nothing was changed: there are {known}"
        )
    return list(dict.fromkeys(wanted)) if wanted else names


def _refuse(error: PalaceError, code: int) -> int:
    print(f"palace_store: {' '.join(str(error).split())}", file=sys.stderr)
    return code
