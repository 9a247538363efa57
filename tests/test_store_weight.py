"""What a drawer weighs on disk, with every fix and with chromadb alone; a measurement, nightly.

`pytest tests/test_store_weight.py -m nightly -s` prints the rows of the table in the docs: bytes a
drawer, written once and then each overwritten as often as the case says.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "entries"))
from store_bench import Bench, host_of

pytestmark = [pytest.mark.slow, pytest.mark.s1, pytest.mark.nightly, pytest.mark.timeout(14_400)]

ANSWER_S = 7200.0
PLAIN = {"sync_threshold": 1000, "batch_size": 100}


def weight(palace: Path) -> tuple[int, int]:
    """Return the allocated bytes of the database, and of the index files."""
    database = 512 * (palace / "chroma.sqlite3").stat().st_blocks
    index = sum(512 * file.stat().st_blocks for file in palace.glob("*-*-*-*-*/*"))
    return database, index


@pytest.mark.parametrize(("drawers", "overwritten"), [(1000, 5), (50_000, 0)])
@pytest.mark.parametrize("release", ["0.6.3", "1.5.9"])
def test_what_a_drawer_weighs(release: str, drawers: int, overwritten: int, tmp_path: Path) -> None:
    records = {}
    with host_of(release, tmp_path) as host:
        bench = Bench(release, host, tmp_path)
        for raw in (True, False):
            palace = tmp_path / ("chroma" if raw else "palace")
            palace.mkdir()
            with bench.worker(palace, **PLAIN) as worker:
                for revision in range(overwritten + 1):
                    worker.begin("stock", count=drawers, revision=revision, raw=raw)
                    worker.answer(ANSWER_S)
                    if revision in (0, overwritten):
                        each = [f"{size / drawers:.0f}" for size in weight(palace)]
                        print(release, drawers, palace.name, f"overwritten {revision}:", *each)
                worker.do("raw_close" if raw else "close")
            with closing(sqlite3.connect(palace / "chroma.sqlite3")) as connection:
                query = "SELECT count(*) FROM embeddings_queue"
                (records[palace.name],) = connection.execute(query).fetchone()
    assert records["palace"] >= drawers, "a rebuild has no vector of some drawer"
    assert records["chroma"] <= PLAIN["sync_threshold"]
    if overwritten:
        assert records["palace"] <= 4 * drawers, "the log was not trimmed"
