"""What is looked at before a client opens a palace, and what is noted of it.

In this order, each by a fix of its own: watermarks no release can go on from, an index that another
program has written, a log that lacks vectors, an index that contradicts the log, one that kills who
loads it. What has to be rebuilt is noted in the state as a change that never ended. Runs alone in
the palace.

The last of these costs as much as reading the index and the log whole (50,000 drawers: see
docs/five-things.md), so a process that closes does it for the next one, for what it has written.
"""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

from palace_store import adoption, canary, readback, watermarks
from palace_store.client import Seat, Unlinked
from palace_store.errors import PalaceError
from palace_store.fixes import Fixes
from palace_store.lease import Lease
from palace_store.state import State, names, write_state

#: How long a process that closes waits for the palace to read back what it wrote: not at all.
_AT_ONCE_S = 0.001
_LOG = logging.getLogger(__name__)


def examine(palace: Path, fixes: Fixes, seat: Seat, state: State) -> State:
    """Return the state with what somebody or something else than this library has done.

    Raises `IndexDamagedError` where the log cannot rebuild an index and a canary did not survive.
    """
    noted, first, retained_now = state.open_flush, state.left is None, False
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
        retained_now = outcome.retained
        seat.doubtful = not retained_now
        state = state.changed(retained=outcome.retained, lossy=bool(outcome.lost))
    state = state.changed(open_flush=_joined(state.open_flush, suspects))
    state, seat.unlinked = compared(palace, fixes, state, anew=retained_now)
    if not state.retained:
        if seat.doubtful and fixes.has("canary"):
            canary.send(palace, salvaged=fixes.has("salvage"))
        return state.changed(open_flush=noted)  # what is not in the log cannot be rebuilt from it
    if first and retained_now and fixes.has("canary"):
        killing = canary.killing(palace, spared=state.open_flush)
        state = state.changed(open_flush=_joined(state.open_flush, killing))
        seat.unlinked = {name: seat.unlinked[name] for name in set(seat.unlinked) - set(killing)}
    return state


def compared(
    palace: Path, fixes: Fixes, state: State, *, anew: bool = False
) -> tuple[State, dict[str, Unlinked]]:
    """Return the state after index files that nobody has read back yet were compared with the log.

    With it come the drawers that have to be linked again (see `readback`). `anew`, of a
    palace whose log was just completed, looks also where there are no files: an index may be gone.
    No client may be open here, and nobody else in the palace.
    """
    if not fixes.has("read_back") or not state.retained:
        return state, {}
    written = readback.fingerprint(palace)
    if written == state.read_back and not anew:
        return state, {}
    found = readback.read(palace, strange=anew)
    if found is None:
        return state, {}
    state = state.changed(open_flush=_joined(state.open_flush, found.damaged))
    fit = {name: lost for name, lost in found.unlinked.items() if not names(state.open_flush, name)}
    return state if fit else state.changed(read_back=written), fit


def left_behind(palace: Path, fixes: Fixes) -> None:
    """Compare what a process that has closed its client wrote, so that the next one need not.

    Nobody is waited for: where a peer has the palace, or anything is unusual, whoever opens it next
    does this, and what else there is to do.
    """
    if not (fixes.has("lease") and fixes.has("read_back")):
        return
    try:
        with Lease(palace, timeout_s=_AT_ONCE_S).exclusive() as found:
            if not found.open_flush and not foreign_touch(palace, fixes, found):
                state, _ = compared(palace, fixes, found)
                if state != found:
                    write_state(palace, state, durable=bool(state.open_flush))
    except (PalaceError, OSError, sqlite3.Error) as error:
        _LOG.debug("%s was not read back at close: %s", palace, error)


def foreign_touch(palace: Path, fixes: Fixes, state: State) -> bool:
    """Tell whether the index files are other than this library left them."""
    if not fixes.has("foreign_check") or state.left is None or state.open_flush:
        return False
    return readback.fingerprint(palace) != state.left


def _joined(noted: tuple[str, ...], suspects: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(noted + suspects))
