"""S1: mends a palace from a shell: `python -m palace_store.mend PALACE`, with its own chromadb.

Opening is all there is to it: whoever opens a palace first looks through it and puts right what its
log and files allow (`examination`). This does so at once and says, as one line of JSON, how many
drawers each collection has and which of them no search finds. Nobody else may be using the palace.
Exit code 1 is a palace that was refused, unchanged, 2 none, or words that make no sense, 7 a disk
that is full: make room, then ask again.
"""

from __future__ import annotations

import json
import sys

from palace_store.drawers import DrawerStore
from palace_store.errors import PalaceError, PalaceInputError
from palace_store.shell import (
    NO_ROOM,
    REFUSED,
    USAGE,
    beyond_help,
    check_palace,
    let_the_library_speak,
    out_of_room,
)


def mend(palace: str) -> dict[str, dict[str, object]]:
    """Return for each collection its `rows`, and the ids of its `unfindable` drawers.

    Raises `PalaceError`; `PalaceInputError` where there is no palace, which none is made for.
    """
    with DrawerStore(check_palace(palace)) as store:
        return {
            name: {
                "rows": store.count(collection=name),
                "unfindable": store.unfindable(collection=name),
            }
            for name in store.collections()
        }


def main(words: list[str]) -> int:
    """Mend the palace named; return an exit code."""
    if len(words) != 1:
        print("usage: python -m palace_store.mend PALACE", file=sys.stderr)
        return USAGE
    let_the_library_speak()
    try:
        print(json.dumps(mend(words[0])))
    except PalaceError as error:
        print(f"palace_store: {error}", file=sys.stderr)
        return USAGE if isinstance(error, PalaceInputError) else _refused(error)
    except Exception as error:  # noqa: BLE001  (of whichever chromadb this is)
        print(beyond_help(words[0], error), file=sys.stderr)
        return _refused(error)
    return 0


def _refused(error: Exception) -> int:
    return NO_ROOM if out_of_room(error) else REFUSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
