"""The file of a knowledge graph, read without the library that wrote it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from palace_lab.targets.stranger import OBSERVER_BUSY_S


def read_back(path: Path) -> dict[str, Any]:
    """Return what is there: triples by id, which of them are ended, integrity, log size."""
    rows: list[tuple[str, ...]] = []
    integrity = "missing"
    if path.exists():
        db = sqlite3.connect(path, timeout=OBSERVER_BUSY_S, isolation_level=None)
        try:
            integrity = "; ".join(row[0] for row in db.execute("PRAGMA integrity_check(10)"))
            if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'triples'").fetchone():
                query = "SELECT subject, predicate, object, ended FROM triples ORDER BY id"
                rows = db.execute(query).fetchall()
        finally:
            db.close()
    return {
        "triples": [list(row[:3]) for row in rows],
        "ended": [list(row[:3]) for row in rows if row[3] is not None],
        "integrity": integrity,
        "wal_bytes": wal_bytes(path),
    }


def wal_bytes(path: Path) -> int | None:
    """Return the length of the write-ahead log; None if there is none."""
    log = path.with_name(f"{path.name}-wal")
    return log.stat().st_size if log.exists() else None
