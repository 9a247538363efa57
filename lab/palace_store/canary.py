"""S1: a sacrificial process opens a palace that nobody can vouch for, before this one does.

Where the log cannot rebuild an index, there is nothing to compare it with, and a torn one kills
whoever loads it: SIGSEGV, or gigabytes written for 30 drawers. So a process of its own counts and
queries a copy of the palace first, under limits. Its death or silence is the answer.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

from palace_store.client import open_client
from palace_store.errors import IndexDamagedError
from palace_store.quarantine import segment_directories
from palace_store.recovery import catch_up
from palace_store.state import DIRECTORY, EVERYTHING

#: A healthy reader takes seconds, also of 100,000 drawers; a stuck one never ends.
TIMEOUT_S = 120.0
_FILE_BYTES_MIN = 64 << 20


def send(palace: Path) -> None:
    """Let another process open a copy of the palace; `IndexDamagedError` if it does not survive."""
    cage = palace / DIRECTORY / "canary"
    shutil.rmtree(cage, ignore_errors=True)  # of one who died here
    cage.mkdir(parents=True)
    try:
        for part in palace.glob("chroma.sqlite3*"):
            shutil.copy2(part, cage)
        for segment in segment_directories(palace):
            shutil.copytree(segment, cage / segment.name)
        ended = _ended(cage)
    finally:
        shutil.rmtree(cage, ignore_errors=True)
    if ended:
        raise IndexDamagedError(
            f"{palace} was not opened, since a process that opened a copy of it {ended}; nothing "
            "was changed: keep a copy of the palace, and open it with the fix `salvage` on to get "
            "back what its files hold"
        )


def _ended(cage: Path) -> str:
    """Return how the process ended, empty if it answered."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "palace_store.canary", str(cage)],
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


def main(cage: Path) -> None:
    """Be the sacrificial process: load every index and ask it something."""
    size = sum(file.stat().st_size for file in cage.rglob("*") if file.is_file())
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_BYTES_MIN + 4 * size,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    catch_up(open_client(cage), (EVERYTHING,))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
