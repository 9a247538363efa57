"""A drawer that a replaced vector may have cut off is looked for, by whoever has the graph.

That hnswlib cuts one off is chance (`scenarios/s1_index_drift/replaced_vectors.py` waits for it).
Here one is cut off by hand, in files that nobody reads back, and another drawer is replaced.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from palace_store.fixes import Fixes

sys.path.append(str(Path(__file__).parent / "entries"))
from harm import index_of, unlink
from store_bench import NEWEST, Bench, ToldError

pytestmark = [pytest.mark.slow, pytest.mark.s1]

BLIND = Fixes.all().without("foreign_check", "read_back")
WITH, WITHOUT = BLIND.words(), BLIND.without("relink").words()
#: Large enough that only the neighbours of what was replaced are looked for.
LARGE = 450


def written(bench: Bench, name: str, count: int = 40) -> Path:
    """Return a palace of the library most of whose index is in its files."""
    palace = bench.directory / name
    with bench.worker(palace, fixes=WITH) as worker:
        worker.do("put", numbers=list(range(count)))
        worker.do("look")
    assert len(index_of(palace).located) > 0.8 * count
    return palace


@pytest.mark.parametrize("fixes", [WITH, WITHOUT], ids=["with", "without"])
@NEWEST
def test_a_change_that_replaces_a_vector_looks_for_the_others(
    bench: Bench, fixes: list[str]
) -> None:
    palace = written(bench, "with" if fixes == WITH else "without")
    (gone,) = unlink(index_of(palace).path, 1)
    with bench.worker(palace, fixes=fixes, sync_threshold=5000, batch_size=3) as worker:
        assert worker.do("look")["lost"] == [gone]
        worker.do("put", numbers=[20], revision=1)
        assert worker.do("look")["lost"] == ([] if fixes == WITH else [gone])
    assert gone != "drawer-0020"


@pytest.mark.parametrize("how", ["upsert", "update"])
@pytest.mark.parametrize("count", [40, LARGE])
@NEWEST
def test_whoever_reads_a_log_that_replaces_vectors_looks_for_the_others(
    bench: Bench, count: int, how: str
) -> None:
    palace = written(bench, f"read-{how}-{count}", count)
    (gone,) = unlink(index_of(palace).path, 1)
    with bench.worker(palace, fixes=WITHOUT) as worker:
        near = worker.do("neighbours", number=int(gone.removeprefix("drawer-")), n=1)
        other = int(near[0].removeprefix("drawer-"))
        if how == "update":
            worker.do("close")
            worker.do("raw_update", numbers=[other], revision=1)
        else:
            worker.do("put", numbers=[other], revision=1)
    with bench.worker(palace, fixes=WITHOUT) as worker:
        assert worker.do("look")["lost"] == [gone]
    with bench.worker(palace, fixes=WITH) as worker:
        found = worker.do("look")
        assert found["lost"] == []
        assert found["documents"][f"drawer-{other:04d}"] == f"{other} at 1"
        generation = worker.do("state")["generation"]
        assert worker.do("look")["lost"] == []
        assert worker.do("state")["generation"] == generation
    assert not list(palace.glob("*.rebuilt-*"))


@pytest.mark.parametrize("how", ["add", "delete"])
@NEWEST
def test_nothing_is_looked_for_where_nothing_was_replaced(bench: Bench, how: str) -> None:
    palace = written(bench, f"not-{how}")
    (gone,) = unlink(index_of(palace).path, 1)
    with bench.worker(palace, fixes=WITH) as worker:
        if how == "add":
            worker.do("put", numbers=[39, 40], how="add")
        else:
            worker.do("delete", numbers=[39 if gone != "drawer-0039" else 38])
        assert worker.do("look")["lost"] == [gone]
        assert worker.do("replaced_in_log") == {}


@NEWEST
def test_the_log_says_who_was_replaced(bench: Bench) -> None:
    palace = bench.directory / "told"
    with bench.worker(palace, sync_threshold=5000, batch_size=3) as worker:
        worker.do("put", numbers=[0, 1, 2, 3], how="add")
        worker.do("put", numbers=[1], revision=1)
        worker.do("put", numbers=[3, 7], revision=2)
        worker.do("put", numbers=[2], revision=3, how="add")  # changes nothing
        assert worker.do("replaced_in_log") == {"drawers": ["drawer-0001", "drawer-0003"]}


@NEWEST
def test_of_a_large_collection_it_says_who_was_near(bench: Bench) -> None:
    palace = bench.directory / "near"
    with bench.worker(palace, sync_threshold=5000, batch_size=100) as worker:
        worker.do("put", numbers=list(range(LARGE)), how="add")
        near = worker.do("neighbours", number=17, n=9)
        worker.do("put", numbers=[17], revision=1)
        told = worker.do("replaced_in_log")["drawers"]
        # The tenth is the drawer itself or, where it is no longer near, one more neighbour.
        assert {"drawer-0017", *near} <= set(told)
        assert len(told) <= 11


@NEWEST
def test_equal_vectors_are_not_taken_for_lost(bench: Bench) -> None:
    palace = bench.directory / "equal"
    with bench.worker(palace) as worker:
        worker.do("put_equal", numbers=list(range(20)), as_number=3)
        worker.do("put_equal", numbers=[4, 5], as_number=3)
        generation = worker.do("state")["generation"]
        worker.do("look")
        assert worker.do("state")["generation"] == generation


@NEWEST
def test_what_a_stranger_writes_meanwhile_keeps_its_own_vectors(bench: Bench) -> None:
    palace = bench.directory / "stranger"
    ours, theirs = list(range(20)), list(range(100, 108))
    with bench.worker(palace, sync_threshold=5000, batch_size=3) as worker:
        worker.do("put", numbers=ours)
        worker.do("look")
        with bench.worker(palace) as stranger:
            stranger.do("raw_put", numbers=theirs, purge_at=5000)
        for number in (3, 11):
            worker.do("put", numbers=[number], revision=1)
        worker.do("close")
    with bench.worker(palace) as worker:
        found = worker.do("look")
        assert found["lost"] == []
        assert found["count"] == len(ours) + len(theirs)
        assert found["documents"]["drawer-0003"] == "3 at 1"


@NEWEST
def test_what_a_stranger_writes_between_ours_stops_no_change(bench: Bench) -> None:
    """0.6.3 then has no vector for some of the drawers asked for, and raises a TypeError."""
    palace = bench.directory / "between"
    with bench.worker(palace, sync_threshold=6, batch_size=3) as worker:
        worker.do("put", numbers=list(range(6)), how="add")
        worker.do("look")
        with bench.worker(palace) as stranger:
            stranger.do("raw_put", numbers=[100], purge_at=6)
        worker.do("put", numbers=[3, 6, 7, 8], revision=1)
        assert worker.do("reopened") == 0
        worker.do("close")
    with bench.worker(palace) as worker:
        found = worker.do("look")
        assert found["lost"] == []
        assert found["count"] == 10


@pytest.mark.parametrize("count", [40, 41, 42])
@NEWEST
def test_what_is_linked_again_is_so_in_the_graph(bench: Bench, count: int) -> None:
    """0.x keeps it beside its graph; a search for all drawers fails until the graph has it."""
    palace = written(bench, f"beside-{count}", count)
    (gone,) = unlink(index_of(palace).path, 1)
    with bench.worker(palace, fixes=WITH, sync_threshold=5000) as worker:
        worker.do("put", numbers=[20], revision=1)
        found = worker.do("find", number=7, n=count)
        assert gone in found


@NEWEST
def test_is_looked_for_whenever_a_graph_takes_up_a_replaced_vector(bench: Bench) -> None:
    """On 0.x that is when a batch is full, and whoever fills it may replace nothing."""
    palace = bench.directory / "taken-up"
    with bench.worker(palace, sync_threshold=5000, batch_size=5) as worker:
        worker.do("count_looks")
        worker.do("put", numbers=list(range(5)), how="add")
        looks = [worker.do("looks")]
        changes: list[tuple[list[int], str]] = [
            *(([number], "upsert") for number in (0, 1, 2)),
            *(([number], "add") for number in range(10, 22)),
        ]
        for numbers, how in changes:
            worker.do("put", numbers=numbers, how=how, revision=1)
            looks.append(worker.do("looks"))
    once_each = [0, 1, 2, 3, *([3] * 12)]
    # The first look of a client is at once; the next is when the batch of five is full.
    once_a_batch = [0, 1, 1, 1, 1, *([2] * 11)]
    assert looks == (once_a_batch if bench.release.startswith("0.") else once_each)


@NEWEST
def test_a_drawer_whose_vector_is_lost_keeps_nobody_out(bench: Bench) -> None:
    palace = written(bench, "lost")
    with bench.worker(palace, fixes=WITHOUT, sync_threshold=5000, batch_size=5000) as worker:
        worker.do("put", numbers=[20, 21], revision=1)
    shutil.rmtree(index_of(palace).path)
    gone = [f"drawer-{number:04d}" for number in range(10)]
    with closing(sqlite3.connect(palace / "chroma.sqlite3")) as database, database:
        database.executemany(
            "DELETE FROM embeddings_queue WHERE id = ?", [(name,) for name in gone]
        )
    with bench.worker(palace, fixes=WITH) as worker:
        found = worker.do("look")
        assert set(found["lost"]) >= set(gone)
        assert len(found["documents"]) == 40
        worker.do("put", numbers=[22], revision=2)
        assert worker.do("find", number=22, revision=2) == ["drawer-0022"]


@pytest.mark.parametrize("fixes", [WITH, WITHOUT], ids=["with", "without"])
@NEWEST
def test_a_search_that_0x_refuses_is_answered_as_far_as_its_graph_reaches(
    bench: Bench, fixes: list[str]
) -> None:
    palace = written(bench, f"wide-{fixes == WITH}")
    (gone,) = unlink(index_of(palace).path, 1)
    with bench.worker(palace, fixes=fixes, sync_threshold=5000) as worker:
        for n in (1, 10):
            assert len(worker.do("found_widely", number=7, n=n)["found"]) == n
        if bench.release == "0.6.3" and fixes == WITHOUT:
            with pytest.raises(ToldError, match="Cannot return the results"):
                worker.do("found_widely", number=7, n=100)
            return
        found = worker.do("found_widely", number=7, n=100)
        count = len(found["found"])  # 0.x also counts what waits beside its graph
        assert count == len(set(found["found"]))
        assert count == 39 or (bench.release == "0.6.3" and 39 - 5 <= count < 39)
        assert gone not in found["found"]
        refused = [each for each in found["said"] if "for 100 of its 40 drawers" in each]
        assert len(refused) == (bench.release == "0.6.3")
        assert all(f"the nearest {count} that it reaches" in each for each in refused)
