"""Drawers to which no link of the index leads are found again after the next open."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from palace_lab.processes.exits import WorkerGoneError
from palace_lab.processes.supervise import CrashPoint, tracing_available
from palace_store.anatomy import survey
from palace_store.fixes import Fixes
from palace_store.state import read_state

sys.path.append(str(Path(__file__).parent / "entries"))
from harm import index_of, unlink
from store_bench import NEWEST, Bench, Told

pytestmark = [pytest.mark.slow, pytest.mark.s1]

#: With the check of foreign writers the harm, which is done by hand, would lead to a rebuild.
RELINKING = Fixes.all().without("foreign_check").words()
WITHOUT = Fixes.all().without("foreign_check", "read_back").words()
MANY = list(range(40))
#: That of `palace_store.readback`, which cannot be imported without chromadb.
RELINKED_MAX = 100
OPENS_MAX = 6
#: In a pull request every third write is killed at, after the first ones.
STEP = 3
#: Large enough that more can be cut off than are linked again at one open.
LARGE = 450


def written(bench: Bench, name: str) -> Path:
    """Return a palace of the library with 40 drawers in its index, closed and read back."""
    palace = bench.directory / name
    with bench.worker(palace, fixes=RELINKING) as worker:
        worker.do("put", numbers=MANY)
        worker.do("close")
        assert worker.do("state")["is_read_back"]
    return palace


@pytest.mark.parametrize("count", [1, 3])
def test_the_next_open_links_them_again_and_leaves_the_index_where_it_is(
    bench: Bench, count: int
) -> None:
    palace = written(bench, f"cut-{count}")
    gone = unlink(index_of(palace).path, count)
    (said,) = survey(palace).findings
    assert (said.kind, sorted(said.ids)) == ("index-unreachable", gone)
    before = index_of(palace).path
    with bench.worker(palace, fixes=RELINKING) as worker:
        found = worker.do("look")
        assert found["lost"] == []
        assert found["documents"] == {f"drawer-{n:04d}": f"{n} at 0" for n in MANY}
        worker.do("close")
        assert worker.do("state")["is_read_back"]
    assert survey(palace).findings == ()
    assert index_of(palace).path == before
    assert not list(palace.glob("*.rebuilt-*"))


def test_without_the_fix_no_search_finds_them(bench: Bench) -> None:
    palace = written(bench, "without")
    gone = unlink(index_of(palace).path, 2)
    with bench.worker(palace, fixes=WITHOUT) as worker:
        assert worker.do("look")["lost"] == gone


def test_who_closes_leaves_it_to_the_next_open(bench: Bench) -> None:
    palace = bench.directory / "closing"
    with bench.worker(palace, fixes=RELINKING) as worker:
        worker.do("put", numbers=MANY)
        gone = unlink(index_of(palace).path, 1)
        worker.do("close")
        assert not worker.do("state")["is_read_back"]
        assert worker.do("look")["lost"] == []
        worker.do("close")
    assert index_of(palace).located.keys() >= set(gone)
    assert survey(palace).findings == ()


def test_once_linked_nothing_is_written_at_further_opens(bench: Bench) -> None:
    palace = written(bench, "quiet")
    unlink(index_of(palace).path, 1)
    generations = []
    for _ in range(3):
        with bench.worker(palace, fixes=RELINKING) as worker:
            assert worker.do("look")["lost"] == []
            worker.do("close")
        generations.append(
            (
                read_state(palace).generation,
                len(survey(palace).collection("drawers").collection.log),
            )
        )
    assert generations[1] == generations[2]
    assert generations[0][1] == generations[2][1]


@pytest.mark.skipif(tracing_available() is not None, reason=str(tracing_available()))
@pytest.mark.parametrize(
    "step", [STEP, pytest.param(1, marks=pytest.mark.nightly)], ids=["some", "all"]
)
@NEWEST
def test_killed_at_any_write_of_it_nothing_is_lost(bench: Bench, step: int) -> None:
    base = written(bench, "base")
    gone = unlink(index_of(base).path, 2)
    k, died = 0, True
    while died:
        k += 1 if k < STEP else step
        palace = bench.copied(base)
        points = [CrashPoint("write", f"{palace}/*", k)]
        with bench.worker(palace, fixes=RELINKING, points=points) as worker:
            died = looks_dead(worker)
        with bench.worker(palace, fixes=RELINKING) as worker:
            found = worker.do("look")
        where = f"killed at write {k}"
        assert (found["lost"], found["count"]) == ([], len(MANY)), where
        assert set(gone) <= found["documents"].keys(), where
    assert k > 5


def looks_dead(worker: Told) -> bool:
    """Search the palace; tell whether the process died of it."""
    try:
        worker.do("look")
    except WorkerGoneError:
        return True
    return False


@pytest.mark.parametrize("count", [150, LARGE])
def test_a_search_names_what_it_cannot_find_and_only_that(bench: Bench, count: int) -> None:
    palace = bench.directory / f"many-{count}"
    with bench.worker(palace, fixes=RELINKING) as worker:
        worker.do("put", numbers=list(range(count)))
        worker.do("close")
    unlink(index_of(palace).path, RELINKED_MAX + 20)
    named = []
    for _ in range(OPENS_MAX):
        with bench.worker(palace, fixes=RELINKING) as worker:
            said = worker.do("warned", number=0)
            lost = worker.do("look")["lost"]
            worker.do("close")
        assert sorted(lost) == sorted(said[0]["ids"] if said else [])
        named.append(len(lost))
        if not said:
            break
        assert said[0]["rows"] == count
        assert f"{said[0]['missing']} or more of the {count} drawers" in said[0]["text"]
    assert named[-1] == 0
    assert count != LARGE or named[0] > 0  # in a small one all are looked for at once


def test_a_drawer_that_is_gone_is_not_named(bench: Bench) -> None:
    palace = bench.directory / "gone"
    with bench.worker(palace, fixes=RELINKING) as worker:
        worker.do("put", numbers=list(range(LARGE)))
        worker.do("close")
    unlink(index_of(palace).path, RELINKED_MAX + 20)
    with bench.worker(palace, fixes=RELINKING) as worker:
        (said,) = worker.do("warned", number=0)
        one, *others = said["ids"]
        worker.do("delete", numbers=[int(one.removeprefix("drawer-"))])
        (now,) = worker.do("warned", number=0)
        assert now["ids"] == others
        worker.do("delete", numbers=[int(name.removeprefix("drawer-")) for name in others])
        assert worker.do("warned", number=0) == []
