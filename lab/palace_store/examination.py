"""What is looked at before a client opens a palace, and what is noted of it.

In this order, each by a fix of its own: watermarks no release can go on from, an index that another
program has written, a log that lacks vectors, an index that contradicts the log. What has to be
rebuilt is noted in the state as a change that never ended. Runs alone in the palace.
"""

from __future__ import annotations

from pathlib import Path

from palace_store import adoption, canary, readback, watermarks
from palace_store.client import Seat
from palace_store.fixes import Fixes
from palace_store.state import State


def examine(palace: Path, fixes: Fixes, seat: Seat, state: State) -> State:
    """Return the state with what somebody or something else than this library has done.

    Raises `IndexDamagedError` where the log cannot rebuild an index and a canary did not survive.
    """
    suspects: tuple[str, ...] = ()
    if fixes.has("watermark_heal"):
        suspects = watermarks.heal(palace)
    if foreign_touch(palace, fixes, state):
        # Whoever wrote it may have purged the log as well.
        suspects += readback.strangers(palace, state.left or ())
        state = state.changed(retained=False, left=readback.fingerprint(palace))
        seat.doubtful = False
    if fixes.has("retention") and not state.retained and not seat.doubtful:
        outcome = adoption.adopt(palace, salvage=fixes.has("salvage"))
        seat.doubtful = not outcome.retained
        suspects += outcome.damaged
        state = state.changed(retained=outcome.retained, lossy=bool(outcome.lost))
    if fixes.has("read_back") and state.retained:
        written = readback.fingerprint(palace)
        if written != state.read_back:
            suspects += readback.damaged(palace)
            state = state.changed(read_back=written)
    if not state.retained:
        if seat.doubtful and fixes.has("canary"):
            canary.send(palace)
        return state  # what is not in the log cannot be rebuilt from it
    return state.changed(open_flush=tuple(dict.fromkeys(state.open_flush + suspects)))


def foreign_touch(palace: Path, fixes: Fixes, state: State) -> bool:
    """Tell whether the index files are other than this library left them."""
    if not fixes.has("foreign_check") or state.left is None or state.open_flush:
        return False
    return readback.fingerprint(palace) != state.left
