"""What the memory files of a trial hold, read without the library that wrote them.

Memory n is the words "memory n"; any others were written by nobody and are listed as foreign.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from palace_lab.targets.stranger import OBSERVER_BUSY_S

#: Below a trial's palace: a directory for each machine, and one for the remote.
MACHINES = "machines"
REMOTE = "remote"
FILE = "memories.sqlite3"
REMOTE_FILE = "remote.sqlite3"
ADDRESS = "address"
_NUMBERED = re.compile(r"memory (\d+)")

Read = dict[str, Any]


def words_of(number: int) -> str:
    """Return the words of memory n."""
    return f"memory {number}"


def machine_file(palace: Path, machine: str) -> Path:
    """Return the memory file of one machine."""
    return palace / MACHINES / machine / FILE


def remote_file(palace: Path) -> Path:
    """Return the file of the remote."""
    return palace / REMOTE / REMOTE_FILE


def read_back(palace: Path) -> Read:
    """Return what every machine and the remote hold; the remote is None where there is none."""
    places = sorted((palace / MACHINES).glob(f"*/{FILE}"))
    machines = {path.parent.name: read_machine(path) for path in places}
    remote = remote_file(palace)
    return {"machines": machines, "remote": read_remote(remote) if remote.exists() else None}


def read_machine(path: Path) -> Read:
    """Return the memories of one file, whatever its schema, and what is still to be told."""
    with closing(_opened(path)) as db:
        integrity = _integrity(db)
        columns = {row[1] for row in db.execute("PRAGMA table_info(memories)")}
        version = db.execute("PRAGMA user_version").fetchone()[0]
        rows: list[tuple[str, ...]] = []
        pending: list[list[Any]] = []
        parked: list[list[Any]] = []
        if columns:
            live = "NOT deleted" if "deleted" in columns else "1"
            rows = db.execute(f"SELECT content FROM memories WHERE {live}").fetchall()  # noqa: S608
        if "parked" in columns:
            query = "SELECT content, parked, error FROM memories WHERE pending IS NOT NULL"
            for content, is_parked, error in db.execute(query):
                said = [number_of(content), error or ""]
                (parked if is_parked else pending).append(said)
    return {
        **_sorted([row[0] for row in rows]),
        "pending": pending,
        "parked": parked,
        "integrity": integrity,
        "version": version,
    }


def read_remote(path: Path) -> Read:
    """Return the memories of the remote, and those it ever refused for what they are."""
    with closing(_opened(path)) as db:
        integrity = _integrity(db)
        rows = db.execute("SELECT content FROM memories WHERE NOT deleted").fetchall()
        refused = db.execute("SELECT DISTINCT content FROM refusals").fetchall()
    return {
        **_sorted([row[0] for row in rows]),
        "refused": sorted(number_of(row[0]) for row in refused),
        "integrity": integrity,
    }


def number_of(content: str) -> int:
    """Return the number of a memory; -1 for words that no workload wrote."""
    found = _NUMBERED.fullmatch(content)
    return int(found[1]) if found else -1


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=OBSERVER_BUSY_S, isolation_level=None)


def _integrity(db: sqlite3.Connection) -> str:
    return "; ".join(row[0] for row in db.execute("PRAGMA integrity_check(10)"))


def _sorted(contents: list[str]) -> Read:
    numbers = sorted(map(number_of, contents))
    foreign = sorted(content for content in contents if number_of(content) < 0)
    return {"memories": [n for n in numbers if n >= 0], "foreign": foreign}
