"""Palaces of others: brought under retention with nothing lost, or left as they are."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from palace_lab.processes.supervise import (
    CrashPoint,
    Host,
    WorkerGoneError,
    tracing_available,
)
from palace_store.anatomy import survey
from palace_store.fixes import Fixes

sys.path.append(str(Path(__file__).parent / "entries"))
from store_bench import RELEASES, Bench, Told, ToldError, by_day

pytestmark = [pytest.mark.slow, pytest.mark.s1]

FIXTURES = Path(__file__).parent.parent / "fixtures"
UNSALVAGED = Fixes.all().without("salvage").words()
FAMILIES = ("write", "rename", "fsync", "truncate", "unlink")


def key(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split("."))


OLD = sorted((path.name.removeprefix("chroma-") for path in FIXTURES.glob("chroma-*")), key=key)


#: Whose palaces are opened in a pull request: the oldest form, and the newest there is.
MADE_BY = by_day(OLD, (OLD[0], OLD[-1]))
OTHERS = ("0.5.23", "1.3.7", "1.5.5", "1.5.7")
#: For what takes ten seconds: the newest release by day, all of them at night.
NEWEST = pytest.mark.parametrize("bench", by_day((*RELEASES, *OTHERS), ("1.5.9",)), indirect=True)


@pytest.fixture(
    scope="module",
    params=by_day((*RELEASES, *OTHERS), ("0.6.3", "1.5.9")),
)
def bench(
    request: pytest.FixtureRequest,
    hosts: Callable[[str], Host],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Bench]:
    host = hosts(request.param)
    yield Bench(request.param, host, tmp_path_factory.mktemp("bench"))
    assert host.leaks() == ()


def answers(release: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (FIXTURES / f"chroma-{release}" / "answers.json").read_text()
    )
    return found


def palace_of(bench: Bench, release: str) -> Path:
    return bench.copied(FIXTURES / f"chroma-{release}" / "palace", f"from-{release}")


def vectors_of(expected: dict[str, Any]) -> dict[str, list[float]]:
    dimension = expected["dimension"]
    return {
        name: list(struct.unpack(f"<{dimension}f", bytes.fromhex(drawer["vector"])))
        for name, drawer in expected["drawers"].items()
    }


def unfound(worker: Any, expected: dict[str, Any]) -> list[str]:
    """Return whoever is not found by his own vector, in all collections."""
    lost = []
    for collection, content in expected.items():
        if not content["count"]:
            continue
        vectors = vectors_of(content)
        nearest = worker.do("nearest", vectors=list(vectors.values()), at=collection)
        doubtful = [name for name, found in zip(vectors, nearest, strict=True) if found != [name]]
        for name in doubtful:  # now and then the nearest is missed; it is lost if none of ten is it
            (wider,) = worker.do("nearest", vectors=[vectors[name]], at=collection, n=10)
            if name not in wider:
                lost.append(f"{collection}/{name} (found {wider})")
        documents = {name: drawer["document"] for name, drawer in content["drawers"].items()}
        assert worker.do("listed", at=collection) == documents
    return lost


def rows_without_log(palace: Path) -> int:
    found = survey(palace)
    return sum(len(each.rows) - len(each.replayed.certain) for each in found.collections)


@pytest.mark.parametrize("made_by", MADE_BY)
def test_a_palace_of_an_older_release_survives_the_loss_of_its_indexes(
    bench: Bench, made_by: str
) -> None:
    if key(made_by) > key(bench.release):
        pytest.skip("a newer palace than this release can read")
    palace = palace_of(bench, made_by)
    expected = answers(made_by)
    # 0.4.24 never purged its log, so it has nothing to put back.
    assert (rows_without_log(palace) > 0) == (made_by != "0.4.24")
    with bench.worker(palace) as worker:
        worker.do("open")
        assert worker.do("state")["retained"]
        assert unfound(worker, expected) == []
        worker.do("close")
        worker.do("forget_index")
        assert unfound(worker, expected) == []
        worker.do("close")
        database = (palace / "chroma.sqlite3").read_bytes()
        worker.do("open")  # once is enough
    with sqlite3.connect(palace / "chroma.sqlite3") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    assert len((palace / "chroma.sqlite3").read_bytes()) == len(database)
    assert rows_without_log(palace) == 0


@pytest.mark.parametrize("made_by", MADE_BY)
def test_an_index_is_made_anew_once_and_then_nothing_is_wrong(bench: Bench, made_by: str) -> None:
    if key(made_by) > key(bench.release):
        pytest.skip("a newer palace than this release can read")
    palace = palace_of(bench, made_by)
    min(palace.glob("*-*/header.bin")).unlink()
    with bench.worker(palace) as worker:
        worker.do("open")
        assert unfound(worker, answers(made_by)) == []
        worker.do("close")
        aside = sorted(palace.glob("*.rebuilt-*"))
        assert aside
        for _ in range(2):
            wrong = [each.findings for each in survey(palace).collections if each.findings]
            assert wrong == []
            worker.do("open")
            assert unfound(worker, answers(made_by)) == []
            worker.do("close")
            assert sorted(palace.glob("*.rebuilt-*")) == aside


def test_what_is_put_back_is_read_only_by_a_rebuild(bench: Bench) -> None:
    palace = palace_of(bench, "0.6.3")
    before = {each.name: dict(each.served) for each in survey(palace).collections}
    with bench.worker(palace) as worker:
        worker.do("adopt")
    for each in survey(palace).collections:
        assert set(each.served) == set(before[each.name])
        assert each.log_complete
        assert not [found for found in each.findings if found.severity != "note"]


@pytest.mark.skipif(tracing_available() is not None, reason=str(tracing_available()))
@NEWEST
def test_killed_anywhere_while_vectors_are_put_back(bench: Bench) -> None:
    expected = answers("0.6.3")
    palace = palace_of(bench, "0.6.3")
    points = [CrashPoint(family, f"{palace}/*", 1, "record") for family in FAMILIES]
    with bench.worker(palace, points=points) as worker:
        worker.do("adopt")
        writes = sum("write" in record.syscall for record in worker.worker.recorded())
    assert writes > 10
    for k in (1, 2, writes // 3, writes // 2, writes - 4, writes - 1, writes):
        palace = palace_of(bench, "0.6.3")
        point = CrashPoint("write", f"{palace}/*", k)
        with bench.worker(palace, points=[point]) as worker, pytest.raises(WorkerGoneError):
            worker.do("adopt")
        with bench.worker(palace) as worker:
            worker.do("open")
            assert worker.do("state")["retained"], f"killed at write {k} of {writes}"
            worker.do("close")
            worker.do("forget_index")
            assert unfound(worker, expected) == [], f"killed at write {k} of {writes}"


def torn_data(palace: Path) -> None:
    file = next(palace.glob("*/index_metadata.pickle")).with_name("data_level0.bin")
    file.write_bytes(file.read_bytes()[:700])


def lost_segment(palace: Path) -> None:
    shutil.rmtree(next(palace.glob("*/index_metadata.pickle")).parent)


def missing_row_vector(palace: Path) -> None:
    with sqlite3.connect(palace / "chroma.sqlite3") as connection:
        connection.execute("DELETE FROM embeddings_queue")
    connection.close()


@pytest.mark.parametrize("harm", [torn_data, lost_segment, missing_row_vector])
def test_without_salvage_a_doubtful_palace_is_left_as_it_is(bench: Bench, harm: Any) -> None:
    palace = palace_of(bench, "0.6.3")
    harm(palace)
    rows = survey(palace).tables
    with bench.worker(palace, fixes=UNSALVAGED) as worker:
        assert worker.do("adopt") == {"retained": False, "lost": {}}
        log = worker.worker.log.read_text()
    assert "is used as it is" in log
    after = survey(palace).tables
    assert [each.log for each in after.collections] == [each.log for each in rows.collections]
    assert not after.automatically_purge  # from now on nothing more is lost


def test_a_change_cut_off_in_a_doubtful_palace_is_refused_and_nothing_is_changed(
    bench: Bench,
) -> None:
    palace = palace_of(bench, "0.6.3")
    lost_segment(palace)
    with bench.worker(palace, fixes=UNSALVAGED) as worker:
        worker.do("note_everything")
        before = {str(path): path.stat().st_mtime_ns for path in palace.glob("*-*/*")}
        refused = worker.refused("open")
        assert refused.name == "IndexDamagedError"
        assert refused.effect == "none"
        assert "make a copy" in refused.text
        assert worker.do("state")["open_flush"] == ["*"]
    assert {str(path): path.stat().st_mtime_ns for path in palace.glob("*-*/*")} == before


def test_a_torn_index_whose_log_is_whole_is_rebuilt_without_any_mark(bench: Bench) -> None:
    palace = bench.directory / "raw"
    shutil.rmtree(palace, ignore_errors=True)
    with bench.worker(palace) as worker:
        worker.do("put", numbers=list(range(20)))
        worker.do("close")
    shutil.rmtree(palace / ".palace")
    torn_data(palace)
    with bench.worker(palace) as worker:
        found = worker.do("look")
        assert found["count"] == 20
        assert found["lost"] == []


# -- what is torn comes back as far as a file surely holds it -------------------------------------


def drifted(palace: Path) -> None:
    """Rename the index as the published fix does."""
    segment = next(palace.glob("*/index_metadata.pickle")).parent
    segment.rename(palace / f"{segment.name}.drift-20240101-000000")


def torn_links(palace: Path) -> None:
    file = next(palace.glob("*/index_metadata.pickle")).with_name("link_lists.bin")
    file.write_bytes(b"\xff" * 40)


def half_the_vectors(palace: Path) -> None:
    file = next(palace.glob("*/index_metadata.pickle")).with_name("data_level0.bin")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 100])


def no_pickle(palace: Path) -> None:
    next(palace.glob("*/index_metadata.pickle")).write_bytes(b"\x80")


#: What is done to an index whose log was purged, and whether every vector is still in some file.
TEARS: list[tuple[Callable[[Path], None], bool]] = [
    (drifted, True), (torn_links, True), (half_the_vectors, False), (no_pickle, False),
    (lost_segment, False),
]  # fmt: skip


def raw_palace(bench: Bench, count: int = 43) -> Path:
    """Return a palace that chromadb alone wrote and whose log it purged."""
    palace = bench.directory / "raw"
    shutil.rmtree(palace, ignore_errors=True)
    with bench.worker(palace) as raw:
        raw.do("raw_put", numbers=list(range(count)))
        raw.do("raw_close")
    assert rows_without_log(palace) > count // 2
    return palace


def usable(worker: Told, known: set[str]) -> set[str]:
    """Return what is not found, after seeing that the rest is, and that writing goes on."""
    found = worker.do("look")
    assert set(found["documents"]) == known
    assert found["count"] == len(known)
    worker.do("put", numbers=[900])
    worker.do("close")
    again = worker.do("look")
    assert again["lost"] == found["lost"]
    assert "drawer-0900" in again["documents"]
    return set(found["lost"])


@pytest.mark.parametrize(("tear", "all_there"), TEARS, ids=[tear.__name__ for tear, _ in TEARS])
def test_what_is_torn_comes_back_as_far_as_a_file_holds_it(
    bench: Bench, tear: Callable[[Path], None], all_there: bool
) -> None:
    palace = raw_palace(bench)
    known = {f"drawer-{number:04d}" for number in range(43)}
    tear(palace)
    with bench.worker(palace) as worker:
        lost = usable(worker, known)
        assert worker.do("unfindable") == sorted(lost)
        assert bool(lost) is not all_there
        assert len(lost) < len(known)
        for name in sorted(lost):
            assert name in worker.worker.log.read_text()
        if lost:
            worker.do("put", numbers=[int(min(lost)[-4:])])
            assert worker.do("unfindable") == sorted(lost)[1:]


def test_what_is_told_is_what_no_search_finds(bench: Bench) -> None:
    """One drawer's addition is still in the log, and may be one that was ignored."""
    palace = palace_of(bench, "0.6.3")
    lost_segment(palace)
    with bench.worker(palace) as worker:
        worker.do("open")
        said = worker.worker.log.read_text()
        for name in ("drawers", "angles"):
            lost = worker.do("unfindable", at=name)
            (line, *_) = [
                each for each in said.splitlines() if f"of {name!r} are in no file or" in each
            ] or [""]
            assert (f" {len(lost)} drawers of" in line) == bool(lost)
            assert all(repr(each) in line for each in lost)
            assert "'drawer-071'" not in line
        assert re.search(r"vectors of 1 drawers .* that was ignored: 'drawer-071'", said)


def test_what_two_writers_mixed_up_is_not_believed(bench: Bench) -> None:
    palace = bench.directory / "mixed"
    shutil.rmtree(palace, ignore_errors=True)
    with bench.worker(palace) as one, bench.worker(palace) as two:
        for start in range(0, 200, 10):
            one.do("raw_put", numbers=list(range(start, start + 5)))
            two.do("raw_put", numbers=list(range(start + 5, start + 10)))
    with bench.worker(palace) as worker:
        lost = usable(worker, {f"drawer-{number:04d}" for number in range(200)})
        assert worker.do("unfindable") == sorted(lost)
        worker.do("close")
    (held,) = survey(palace).collections
    assert set(held.log_ids) | lost == {f"drawer-{number:04d}" for number in [*range(200), 900]}
    assert list(palace.glob("*.torn-*")), "what was not believed is kept"


def test_a_palace_nobody_can_vouch_for_is_opened_by_another_process_first(bench: Bench) -> None:
    """What ends that process does not reach ours. (It does not see a loss in silence.)"""
    palace = raw_palace(bench)
    no_pickle(palace)
    unprotected = Fixes.all().without("salvage", "canary").words()
    with bench.worker(bench.copied(palace), fixes=unprotected) as worker:
        try:
            survived = worker.do("look")["lost"] == []
        except (ToldError, WorkerGoneError):
            survived = False
        assert not survived, "this palace harms nobody"
    before = {str(path): path.stat().st_mtime_ns for path in palace.glob("*-*/*")}
    with bench.worker(palace, fixes=UNSALVAGED) as worker:
        refused = worker.refused("open")
        assert refused.name == "IndexDamagedError"
        assert refused.effect == "none"
        assert "opened a copy" in refused.text
    assert {str(path): path.stat().st_mtime_ns for path in palace.glob("*-*/*")} == before
    assert not (palace / ".palace" / "canary").exists()


def test_our_own_processes_are_no_strangers_and_raw_chromadb_is_one(bench: Bench) -> None:
    palace = bench.directory / "visited"
    shutil.rmtree(palace, ignore_errors=True)
    with bench.worker(palace) as one, bench.worker(palace) as two:
        for start in range(0, 40, 8):
            one.do("put", numbers=list(range(start, start + 4)))
            two.do("look")
            two.do("put", numbers=list(range(start + 4, start + 8)))
        one.do("close")
        assert one.do("look")["lost"] == []
        for worker in (one, two):
            assert "another program" not in worker.worker.log.read_text()
        two.do("close")
        two.do("raw_put", numbers=list(range(100, 120)))
        two.do("raw_close")
        one.do("close")
        found = one.do("look")
        assert found["lost"] == []
        assert found["count"] == 60
        one.do("put", numbers=[200])
        assert "another program" in one.worker.log.read_text()
        assert one.do("look")["lost"] == []


def test_a_log_that_somebody_purged_all_the_same_gets_its_vectors_back(bench: Bench) -> None:
    """A process that opened the palace before we did goes on purging."""
    palace = raw_palace(bench)
    with bench.worker(palace) as worker:
        worker.do("open")
        worker.do("close")
        with sqlite3.connect(palace / "chroma.sqlite3") as connection:
            assert connection.execute("DELETE FROM embeddings_queue WHERE seq_id < 30").rowcount
        connection.close()
        worker.do("note_change")
        found = worker.do("look")
        assert found["lost"] == []
        assert found["count"] == 43
        assert worker.do("unfindable") == []
