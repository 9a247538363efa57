"""The drawers of a palace that several processes share, on each release."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palace_lab.processes.supervise import CrashPoint, WorkerGoneError, tracing_available
from palace_store.fixes import Fixes

sys.path.append(str(Path(__file__).parent / "entries"))
from store_bench import NEWEST, Bench, Told, ToldError

pytestmark = [pytest.mark.slow, pytest.mark.s1]

ALL = Fixes.all()
#: The faces of a ruined index besides drawers that are not found: an error, or a death.
RUINED = (ToldError, WorkerGoneError)


@pytest.fixture(autouse=True)
def no_palace_yet(bench: Bench) -> None:
    shutil.rmtree(bench.palace, ignore_errors=True)


# -- one process against a model -----------------------------------------------------------

NUMBERS = st.lists(st.integers(0, 14), min_size=1, max_size=6, unique=True)
AT = st.sampled_from(["drawers", "second"])
OPS: st.SearchStrategy[tuple[str, list[int], str]] = st.one_of(
    st.tuples(st.sampled_from(["add", "upsert"]), NUMBERS, AT),
    st.tuples(st.just("delete"), NUMBERS, AT),
    st.tuples(st.sampled_from(["look", "close", "reopen"]), st.just([]), AT),
)


def _apply(model: dict[int, int], op: str, numbers: list[int], step: int) -> None:
    for number in numbers:
        if op == "delete":
            model.pop(number, None)
        elif op == "upsert" or number not in model:
            model[number] = step


def _agree(worker: Told, model: dict[int, int], at: str) -> None:
    found = worker.do("look", at=at)
    expected = {f"drawer-{number:04d}": f"{number} at {step}" for number, step in model.items()}
    assert found["documents"] == expected
    assert found["count"] == len(expected)
    assert found["lost"] == []


@settings(
    max_examples=6, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(ops=st.lists(OPS, min_size=8, max_size=18))
def test_any_sequence_of_operations_agrees_with_a_dictionary(
    bench: Bench, ops: list[tuple[str, list[int], str]]
) -> None:
    shutil.rmtree(bench.palace, ignore_errors=True)
    model: dict[str, dict[int, int]] = {"drawers": {}, "second": {}}
    with bench.worker() as one, bench.worker() as two:
        for step, (op, numbers, at) in enumerate(ops):
            worker = two if op == "reopen" or step % 5 == 4 else one  # a peer takes part
            if op in ("add", "upsert"):
                worker.do("put", numbers=numbers, revision=step, how=op, at=at)
            elif op == "delete":
                worker.do("delete", numbers=numbers, at=at)
            elif op == "look":
                _agree(worker, model[at], at)
            else:
                worker.do("close")
            _apply(model[at], op, numbers, step)
        for worker in (one, two):
            for at, content in model.items():
                _agree(worker, content, at)
        made = sorted({at for op, numbers, at in ops if op in ("add", "upsert")})
        assert one.do("collections") == made


# -- several processes ---------------------------------------------------------------------


def test_a_long_lived_reader_finds_a_peers_drawer_in_its_very_next_search(bench: Bench) -> None:
    with bench.worker() as writer, bench.worker() as reader:
        writer.do("put", numbers=[0])
        for number in range(1, 8):
            assert reader.do("find", number=number - 1) == [f"drawer-{number - 1:04d}"]
            writer.do("put", numbers=[number])
            assert reader.do("find", number=number) == [f"drawer-{number:04d}"]
        assert reader.do("reopened") == 7
        assert writer.do("reopened") <= 7


def test_without_generation_the_reader_stays_behind(bench: Bench) -> None:
    fixes = ALL.without("generation").words()
    with bench.worker(fixes=fixes) as writer, bench.worker(fixes=fixes) as reader:
        writer.do("put", numbers=list(range(12)))
        assert reader.do("find", number=0) == ["drawer-0000"]
        writer.do("put", numbers=list(range(20, 40)))
        stale = [n for n in range(20, 40) if reader.do("find", number=n) != [f"drawer-{n:04d}"]]
        assert stale
        assert reader.do("reopened") == 0


def test_without_lease_and_generation_two_writers_ruin_the_index(bench: Bench) -> None:
    fixes = ALL.without("lease", "generation", "flush_mark", "read_back").words()
    with bench.worker(fixes=fixes) as one, bench.worker(fixes=fixes) as two:
        try:
            for number in range(0, 80, 2):
                one.do("put", numbers=[number])
                two.do("put", numbers=[number + 1])
        except RUINED:
            return  # found by a writer already
    with bench.worker(fixes=fixes) as reader:
        try:
            found = reader.do("look")
        except RUINED:
            return
        assert found["lost"]


def test_with_all_fixes_two_writers_lose_nothing(bench: Bench) -> None:
    with bench.worker() as one, bench.worker() as two:
        one.begin("busy", seconds=1.0, first=0)
        two.begin("busy", seconds=1.0, first=5000)
        done = [one.answer()["done"], two.answer()["done"]]
        assert min(done) > 0
        found = one.do("look")
        assert found["count"] == sum(done)
        assert found["lost"] == []


def test_a_waiter_learns_who_is_stopped_inside_a_read_or_a_hold(bench: Bench) -> None:
    with bench.worker() as holder, bench.worker(lease_timeout_s=0.4) as waiter:
        holder.do("put", numbers=[1])
        assert waiter.do("find", number=1) == ["drawer-0001"]
        holder.begin("stop_inside")
        assert holder.worker.receive(20) == {"inside": True}
        told = waiter.refused("put", numbers=[2])
        assert (told.name, told.effect, told.holder) == (
            "LeaseTimeoutError",
            "none",
            holder.worker.pid,
        )
        assert str(holder.worker.pid) in told.text
        holder.worker.unpause()
        holder.answer()
        holder.do("hold", term_s=60)
        holder.worker.pause()
        told = waiter.refused("find", number=1)
        assert (told.name, told.holder) == ("LeaseTimeoutError", holder.worker.pid)
        holder.worker.kill()
        holder.worker.wait_exit(20)
        assert waiter.do("find", number=1) == ["drawer-0001"]


def test_readers_do_not_block_each_other(bench: Bench) -> None:
    with bench.worker() as one, bench.worker(lease_timeout_s=1.0) as two:
        one.do("put", numbers=[1, 2])
        assert two.do("find", number=2) == ["drawer-0002"]
        one.do("find", number=1)
        one.begin("wait_inside")
        assert one.worker.receive(20) == {"inside": True}
        assert two.do("find", number=1) == ["drawer-0001"]
        assert two.refused("put", numbers=[3]).name == "LeaseTimeoutError"
        one.worker.send({"go": True})
        one.answer()


def test_a_holder_stopped_past_its_term_is_fenced_and_changes_nothing(bench: Bench) -> None:
    with bench.worker() as holder, bench.worker() as peer:
        holder.do("put", numbers=[1])
        holder.do("hold", term_s=0.2)
        holder.do("put", numbers=[2])
        holder.worker.pause()
        peer.do("put", numbers=[3])  # waits until the term is over
        state = peer.do("state")
        holder.worker.unpause()
        told = holder.refused("put", numbers=[4])
        assert (told.name, told.effect) == ("LeaseLostError", "none")
        assert holder.refused("find", number=1).name == "LeaseLostError"
        assert peer.do("state") == state
        holder.do("release")
        holder.do("put", numbers=[5])
        assert sorted(peer.do("listed")) == [f"drawer-{n:04d}" for n in (1, 2, 3, 5)]


def test_a_peer_that_missed_a_recovery_reopens(bench: Bench) -> None:
    """Recovering changes what is on disk, also where it changes no drawer."""
    with bench.worker() as one, bench.worker() as two:
        one.do("put", numbers=list(range(7)))
        two.do("look")
        one.do("look")
        before = one.do("state")["generation"]
        two.do("note_change")
        two.do("look")
        assert two.do("state")["generation"] > before
        reopened = one.do("reopened")
        assert one.do("look")["lost"] == []
        assert one.do("reopened") == reopened + 1


# -- one process ---------------------------------------------------------------------------


def test_threads_and_stores_of_one_process_share_the_palace(bench: Bench) -> None:
    with bench.worker() as worker:
        assert worker.do("threads", count=4, each=6) == []
        assert worker.do("look")["count"] == 24
        found = worker.do("second_store", numbers=list(range(100, 110)))
        assert found["counts"] == [34, 34, 34]
        assert found["waited"]["error"] == "LeaseTimeoutError"
        assert found["waited"]["holder"] == worker.worker.pid
        assert found["after"] == 34


def test_a_fork_of_a_process_with_a_client_is_refused(bench: Bench) -> None:
    with bench.worker() as worker:
        worker.do("put", numbers=[1])
        assert worker.do("fork") == {"child": "ForkedStoreError", "parent": 1}


@pytest.mark.parametrize(
    "case",
    [
        "wrong dimension", "wrong dimension in search", "no direction", "too many",
        "too many deleted", "half a surrogate", "NaN", "long id", "name",
    ],
)  # fmt: skip
def test_refused_input_changes_nothing_and_needs_no_recovery(bench: Bench, case: str) -> None:
    with bench.worker() as worker:
        worker.do("put", numbers=list(range(7)))
        worker.do("find", number=1)
        before = _files(bench.palace)
        told = worker.refused("badly", case=case)
        assert (told.name, told.effect) == ("PalaceInputError", "none")
        assert _files(bench.palace) == before
        assert worker.do("look")["count"] == 7
        assert worker.do("reopened") == 0
        assert not list(bench.palace.glob("*.rebuilt-*"))


def _files(palace: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in palace.rglob("*")
        if path.is_file()
    }


def test_no_file_of_ours_without_a_fix_that_needs_one(bench: Bench) -> None:
    for fixes in (Fixes.none(), Fixes.reported("quarantine"), Fixes.reported("kg")):
        with bench.worker(fixes=fixes.words()) as worker:
            worker.do("put", numbers=[1])
            assert worker.do("look")["count"] == 1
            assert not (bench.palace / ".palace").exists()


def test_the_database_is_never_opened_beside_a_client(bench: Bench) -> None:
    """On close, POSIX would drop the locks of chromadb's own SQLite in this process."""
    with bench.worker() as worker, bench.worker() as peer:
        worker.do("watch_opens")
        worker.do("put", numbers=list(range(8)))
        for number in range(20, 24):
            peer.do("put", numbers=[number, number + 10])
            worker.do("put", numbers=[number + 20])
            worker.do("look")
        peer.do("note_change")
        assert worker.do("look")["lost"] == []  # a recovery
        watched = worker.do("watched")
        assert watched["met"] == []
        assert watched["opens"] > 0, "the hook sees nothing"


def test_an_older_release_is_refused_and_a_live_process_is_overtaken(bench: Bench) -> None:
    with bench.worker() as old, bench.worker() as new:
        old.do("put", numbers=[1])
        new.do("pretend", version="99.1.0")
        new.do("put", numbers=[2])
        before = _files(bench.palace)
        for told in (old.refused("put", numbers=[3]), old.refused("find", number=1)):
            assert (told.name, told.effect) == ("StaleLibraryError", "none")
            assert told.versions == [bench.release, "99.1.0"]
        assert _files(bench.palace) == before
    fixes = ALL.without("version_guard").words()
    with bench.worker(fixes=fixes) as unguarded:
        unguarded.do("put", numbers=[4])  # off: it writes all the same


def test_an_unreadable_state_makes_the_index_be_rebuilt(bench: Bench) -> None:
    with bench.worker() as one, bench.worker() as two:
        one.do("put", numbers=list(range(7)))
        two.do("look")
        (bench.palace / ".palace" / "state.json").write_text("garbage")
        for worker in (one, two):
            assert worker.do("look")["lost"] == []
            assert worker.do("reopened") == 1
        assert list(bench.palace.glob("*.rebuilt-*"))
        assert one.do("state")["retained"]


@pytest.mark.nightly
@NEWEST
def test_more_drawers_than_sqlite_has_variables_are_listed_and_found(bench: Bench) -> None:
    many = 33_000  # 1.x cannot look up more than 32,766 of them at once
    with bench.worker(sync_threshold=1000, batch_size=1000) as worker:
        worker.begin("many", count=many)
        answers = worker.answer(300)
    assert answers["3"] == [3, 3]
    assert answers["20000"] == [20_000, 20_000]
    assert answers[str(many)] == answers[str(10**400)] == [many, many]
    assert answers["all"] == [many]


def test_the_log_keeps_everything(bench: Bench) -> None:
    with bench.worker() as worker:
        for start in range(0, 30, 6):
            worker.do("put", numbers=list(range(start, start + 6)))
        worker.do("close")
    with sqlite3.connect(bench.palace / "chroma.sqlite3") as connection:
        kept = connection.execute("SELECT count(*) FROM embeddings_queue").fetchone()
    connection.close()
    assert kept == (30,)


def test_the_reports_quarantine_at_open(bench: Bench) -> None:
    fixes = Fixes.reported("quarantine").words()
    with bench.worker(fixes=fixes) as worker:
        worker.do("put", numbers=list(range(7)))
        worker.do("close")
    (segment,) = [path.parent for path in bench.palace.glob("*/data_level0.bin")]
    os.utime(segment / "data_level0.bin", (1, 1))
    with bench.worker(fixes=fixes) as worker:
        worker.do("count_only")
    assert list(bench.palace.glob(f"{segment.name}.drift-*"))


@pytest.mark.skipif(tracing_available() is not None, reason=str(tracing_available()))
@pytest.mark.parametrize("error", ["EPERM", "EACCES"])
def test_a_quarantine_that_may_not_rename_refuses_to_open(bench: Bench, error: str) -> None:
    fixes = Fixes.reported("quarantine").words()
    with bench.worker(fixes=fixes) as worker:
        worker.do("put", numbers=list(range(7)))
        worker.do("close")
    (segment,) = [path.parent for path in bench.palace.glob("*/data_level0.bin")]
    os.utime(segment / "data_level0.bin", (1, 1))
    point = CrashPoint("rename", f"{segment}", 1, "fail", errno=error)
    with bench.worker(fixes=fixes, points=[point]) as worker:
        refusal = worker.refused("open")
        assert (refusal.name, refusal.effect) == ("SetAsideError", "none")
        assert "could not be set aside" in worker.worker.log.read_text()
    assert segment.is_dir()


def test_a_raw_palace_with_a_purged_log_loses_nothing_under_the_library(bench: Bench) -> None:
    with bench.worker() as raw:
        raw.do("raw_put", numbers=list(range(40)))
        raw.do("raw_close")
    with bench.worker() as worker:
        assert worker.do("look")["lost"] == []
        worker.do("put", numbers=list(range(40, 48)))
        worker.do("note_change")
        found = worker.do("look")
        assert found["count"] == 48
        assert found["lost"] == []


def test_a_stopped_writer_that_wakes_after_its_peers_were_refused_goes_on(bench: Bench) -> None:
    """Inside one operation it is never overtaken, so nothing has changed under it."""
    with bench.worker() as one, bench.worker(lease_timeout_s=0.3) as two:
        one.do("put", numbers=[1])
        one.begin("busy", seconds=0.5, first=100)
        one.worker.signal(signal.SIGSTOP)
        with contextlib.suppress(ToldError):  # where the one was stopped inside
            two.do("put", numbers=[2])
        assert two.last_effect in (None, "none")
        one.worker.signal(signal.SIGCONT)
        done: dict[str, Any] = one.answer()
        assert two.do("look")["lost"] == []
        assert len([name for name in two.do("listed") if name >= "drawer-0100"]) == done["done"]
