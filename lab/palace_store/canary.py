"""S1: a sacrificial process opens a copy of a palace that others made, before this one opens it.

A torn index kills whoever loads it: SIGSEGV, or gigabytes written for 30 drawers. Reading the files
finds what is known to do that; a canary, what is not. So a process of its own searches a copy of
the palace first, under limits. Its death or silence is the answer: the index is made anew
from the log, or, where the log cannot rebuild it, the palace is refused.
"""

from __future__ import annotations

import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from palace_store.client import Client, open_client
from palace_store.errors import IndexDamagedError
from palace_store.quarantine import segment_directories
from palace_store.recovery import catch_up
from palace_store.retention import database
from palace_store.state import DIRECTORY, EVERYTHING, of_default

#: A healthy reader takes seconds, also of 100,000 drawers; a stuck one never ends.
TIMEOUT_S = 120.0
_FILE_BYTES_MIN = 64 << 20
_ASKED_MAX = 1000
_LOG = logging.getLogger(__name__)


def send(palace: Path, *, salvaged: bool) -> None:
    """Let another process open a copy of the palace; `IndexDamagedError` if it does not survive.

    `salvaged`: what its files hold was looked for already.
    """
    ended = _fate(palace, ())
    if ended:
        remedy = "put back one from before" if salvaged else "open it with the fix `salvage` on"
        raise IndexDamagedError(
            f"{palace} was not opened, since a process that opened a copy of it {ended}, and its "
            f"log cannot rebuild the index; nothing was changed: keep a copy of it, then {remedy}"
        )


def killing(palace: Path, spared: tuple[str, ...]) -> tuple[str, ...]:
    """Return the collections whose index a process did not survive, out of those not `spared`.

    All of them, where it did not: one is tried after the other, and which it was it cannot say.
    """
    with database(palace) as connection:
        rows = connection.execute(
            "SELECT s.id, c.name FROM segments s JOIN named c ON s.collection = c.id"
        ).fetchall()
    there = {segment.name for segment in segment_directories(palace)}
    written = {name for segment, name in rows if segment in there and of_default(name)}
    names = sorted(written - set(spared))
    if not names or EVERYTHING in spared:
        return ()
    try:
        ended = _fate(palace, tuple(names))
    except OSError as error:  # a full disk, say
        _LOG.warning("no other process could open a copy of %s first: %s", palace, error)
        return ()
    if ended:
        _LOG.warning(
            "%s: a process that opened a copy of it %s; made anew: %s", palace, ended, names
        )
    return tuple(names) if ended else ()


def _fate(palace: Path, names: tuple[str, ...]) -> str:
    """Return how a process ended that opened a copy and asked these collections, empty if well."""
    cage = palace / DIRECTORY / "canary"
    shutil.rmtree(cage, ignore_errors=True)  # of one who died here
    cage.mkdir(parents=True)
    try:
        for part in palace.glob("chroma.sqlite3*"):
            shutil.copy2(part, cage)
        for segment in segment_directories(palace):
            shutil.copytree(segment, cage / segment.name)
        return _ended(cage, names)
    finally:
        shutil.rmtree(cage, ignore_errors=True)


def _ended(cage: Path, names: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "palace_store.canary", str(cage), *names],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"had not answered after {TIMEOUT_S:.0f} s"
    if done.returncode < 0:
        return f"was killed by signal {-done.returncode}"
    words = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
    return "" if done.returncode == 0 else f"failed: {''.join(words)[:300]}"


def main(cage: Path, names: tuple[str, ...]) -> None:
    """Be the sacrificial process: load these indexes and search them, or just load each."""
    size = sum(file.stat().st_size for file in cage.rglob("*") if file.is_file())
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_BYTES_MIN + 4 * size,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Who waits for it may be killed meanwhile. Ends it also where it is stuck inside chromadb.
    signal.alarm(round(TIMEOUT_S))
    client = open_client(cage)
    catch_up(client, names or (EVERYTHING,))
    for name in names:
        _ask(client.get_collection(name, embedding_function=None))


def _ask(collection: Client) -> None:
    """Let searches go through the index: one for each of some drawers, by its own vector."""
    found = collection.get(limit=_ASKED_MAX, include=["embeddings"])["embeddings"]
    if found is not None and len(found):
        collection.query(query_embeddings=found, n_results=1, include=[])


if __name__ == "__main__":
    main(Path(sys.argv[1]), tuple(sys.argv[2:]))
