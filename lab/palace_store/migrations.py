"""S0: what a newer chromadb did to a palace without this library, and so without a note of ours.

Each release writes down which migrations of the tables it has made. A palace with one that the
chromadb of this process does not know is refused, before a client opens it. Releases that share
their migrations (0.5.23 and 0.6.3; 1.5.5, 1.5.7 and 1.5.9) cannot be told apart like that.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from palace_store.client import running_version
from palace_store.errors import StaleLibraryError
from palace_store.retention import database, made_aside
from palace_store.state import State
from palace_store.version_guard import newest


def checked(palace: Path, state: State, *, made: bool) -> State:
    """Return the state with this chromadb and the palace's migrations noted; no client may be open.

    Raises `StaleLibraryError` if they go further than this chromadb's own. Those are asked for by
    making an empty palace aside, only where the migrations are not the ones that were noted.
    """
    found = _migrations(palace)
    if not made and found != state.migrations:
        known = _known(palace)
        unknown = [each for each in found if each not in known]
        if unknown:
            running = running_version()
            raise StaleLibraryError(
                f"this process runs chromadb {running}, but a newer one has opened {palace} and "
                f"changed its tables ({unknown[0]} is not known to {running}); nothing was "
                "changed: restart this process with the chromadb that wrote it, or a newer one",
                running=running,
                palace="newer",
            )
    return state.changed(chromadb=newest(running_version(), state.chromadb), migrations=found)


@lru_cache(maxsize=8)
def _known(palace: Path) -> frozenset[str]:
    """Return the migrations that this process's chromadb makes; `palace` is where it may try."""
    with made_aside(palace) as empty:
        return frozenset(_migrations(empty))


def _migrations(palace: Path) -> tuple[str, ...]:
    with database(palace) as connection:
        tables = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'migrations'"
        if connection.execute(tables).fetchone() is None:
            return ()
        rows = connection.execute("SELECT dir, version FROM migrations ORDER BY dir, version")
        return tuple(f"{directory} {version}" for directory, version in rows)
