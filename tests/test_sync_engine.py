"""The sync engine against a real server: what is told, what goes wrong, what is made of it (S4)."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from remote_bench import ALL, World, world

from palace_lab.targets.memory_files import words_of
from palace_lab.targets.old_memories import make_old
from palace_store.errors import PalaceInputError
from palace_store.local import LocalStore
from palace_store.sync import RECALL_TIMEOUT_S, SyncEngine, rounds
from palace_store.sync.push import ATTEMPTS_MAX
from palace_store.sync.recall import STILL_WORKING, Bounded
from palace_store.sync.rows import row_of

pytestmark = pytest.mark.s4


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "world") as made:
        yield made


def test_two_machines_and_a_remote_become_alike(here: World) -> None:
    a, b = here.machine("a"), here.machine("b")
    a.store.store(words_of(1), metadata={"by": "ada"})
    b.store.store(words_of(2))
    both = b.store.store(words_of(3))
    a.store.store(words_of(3))
    for machine in (a, b, a):
        assert machine.engine.sync().problems == ()
    assert a.words() == b.words() == list(map(words_of, (1, 2, 3)))
    assert here.there() == [1, 2, 3]
    found = b.store.recall(words_of(1), limit=1)[0]
    assert found.metadata == {"by": "ada"}
    assert a.store.delete(both.id)
    assert a.engine.sync().problems == ()
    assert b.engine.sync().pulled == 1
    assert b.words() == list(map(words_of, (1, 2)))
    assert here.there() == [1, 2]
    assert a.engine.memory_count() == {"local": 2, "remote": 2, "pending": 0, "parked": 0}
    assert a.engine.status().state == "in sync"


def test_a_memory_that_was_deleted_elsewhere_can_come_back(here: World) -> None:
    a, b = here.machine("a"), here.machine("b")
    memory = a.store.store(words_of(1))
    for machine in (a, b):
        machine.engine.sync()
    b.store.delete(memory.id)
    b.engine.sync()
    a.store.store(words_of(1))  # not knowing of that: told to stay, so it stays
    for machine in (a, b, a):
        machine.engine.sync()
    assert a.words() == b.words() == [words_of(1)]
    for _ in range(3):
        a.store.delete(memory.id)
        a.engine.sync()
        assert here.there() == []
        a.store.store(words_of(1))
        a.engine.sync()
        assert here.there() == [1]


def test_words_of_a_program_without_keys_are_not_stored_again(here: World) -> None:
    a = here.machine("a")
    here.remote.put(first=1)
    a.engine.sync()
    a.store.store(words_of(1))
    assert a.engine.sync().problems == ()
    assert here.there() == [1]


@pytest.mark.parametrize("what", ["lose-reply", "cut-reply", "cut-request"])
@pytest.mark.parametrize("where", ["POST /memories", "DELETE /memories"])
def test_a_message_that_is_lost_or_cut_makes_no_second_copy(
    here: World, what: str, where: str
) -> None:
    a, b = here.machine("a"), here.machine("b")
    kept, gone = a.store.store(words_of(1)), a.store.store(words_of(2))
    if where.startswith("DELETE"):
        a.engine.sync()
        a.store.delete(gone.id)
    here.remote.fault(what=what, where=where)  # type: ignore[arg-type]
    assert a.engine.push().problems
    if where.startswith("POST"):
        a.store.delete(gone.id)
    for machine in (a, b):
        assert machine.engine.sync().problems == ()
    assert here.there() == [1]
    assert a.words() == b.words() == [kept.content]


def test_a_memory_deleted_while_it_was_being_stored_is_deleted_there(here: World) -> None:
    a = here.machine("a")
    memory = a.store.store(words_of(1))
    here.remote.fault(what="hold", where="POST /memories", hold_s=200.0)
    pushing = threading.Thread(target=a.engine.push)
    pushing.start()
    here.remote.await_held()
    assert a.store.delete(memory.id)
    assert a.store.count() == 0
    here.remote.heal()
    pushing.join(30)
    a.engine.sync()
    assert here.there() == []
    assert here.read()["machines"]["a"]["pending"] == []


def test_a_refused_memory_is_parked_and_listed_and_can_be_tried_again(here: World) -> None:
    a = here.machine("a")
    here.remote.answer(first=1, status=422)
    here.remote.put(first=3)
    a.store.store(words_of(1))
    a.store.store(words_of(2))
    rounds = [a.engine.sync() for _ in range(ATTEMPTS_MAX + 2)]
    assert [bool(each.problems) for each in rounds] == [True] * ATTEMPTS_MAX + [False] * 2
    assert here.there() == [2, 3]
    assert a.words() == list(map(words_of, (1, 2, 3)))
    (parked,) = a.engine.parked()
    assert (parked.content, parked.operation, parked.attempts) == (words_of(1), "store", 5)
    assert "422" in parked.reason
    status = a.engine.status()
    assert (status.state, status.pending, status.parked) == ("behind", 0, (parked,))
    here.remote.heal()
    assert a.engine.retry_parked() == 1
    a.engine.sync()
    assert here.there() == [1, 2, 3]
    assert a.engine.status().state == "in sync"


def test_an_orphan_whose_push_failed_is_parked_like_any_other(here: World) -> None:
    """What an old version left has nothing to say for itself until everything is compared."""
    place = here.palace / "machines" / "a" / "memories.sqlite3"
    make_old(place, 1, [words_of(1), words_of(2)])
    here.remote.answer(first=1, status=500)
    a = here.machine("a")
    assert a.engine.memory_count() == {"local": 2, "remote": 0, "pending": 0, "parked": 0}
    for _ in range(ATTEMPTS_MAX):
        a.engine.sync()
    assert here.there() == [2]
    assert [parked.content for parked in a.engine.parked()] == [words_of(1)]
    a.reopen()  # another full resync leaves it parked, and listed
    a.engine.sync()
    assert [parked.content for parked in a.engine.parked()] == [words_of(1)]
    here.remote.heal()
    a.engine.retry_parked()
    a.engine.sync()
    assert here.there() == [1, 2]


def test_a_reply_that_is_too_slow_is_a_failed_attempt_and_no_second_copy(here: World) -> None:
    a = here.machine("a", scale=0.01)
    a.store.store(words_of(1))
    here.remote.fault(what="hold", where="POST /memories", hold_s=1000.0)
    (problem,) = a.engine.push().problems
    assert "no whole answer" in problem
    here.remote.heal()
    assert a.engine.push().problems == ()
    assert here.there() == [1]


def test_an_outage_counts_for_nothing_whatever_its_face(here: World) -> None:
    a = here.machine("a", scale=0.01)
    a.store.store(words_of(1))
    here.remote.refuse_connections()
    for _ in range(ATTEMPTS_MAX + 1):
        assert a.engine.sync().away
    assert a.engine.status().state == "unreachable"
    here.remote.heal()
    here.remote.answer(first=1, status=503)
    for _ in range(ATTEMPTS_MAX + 1):
        assert a.engine.sync().away
    here.remote.heal()
    here.remote.fault(what="cut-reply", where="/", times=1000)
    for _ in range(ATTEMPTS_MAX + 1):
        assert a.engine.sync().problems
    assert a.engine.parked() == ()
    here.remote.heal()
    a.engine.sync()
    assert here.there() == [1]


@pytest.mark.parametrize("denial", [401, 403])
def test_a_wrong_key_means_local_only_until_it_is_right(here: World, denial: int) -> None:
    a = here.machine("a")
    a.engine.sync()
    here.remote.take_key(key="new", denial=denial)
    a.store.store(words_of(1))
    assert all(a.engine.sync().denied for _ in range(ATTEMPTS_MAX + 1))
    status = a.engine.status()
    assert status.state == "local only"
    assert str(denial) in status.reason
    assert (status.local, status.remote, status.parked) == (1, None, ())
    recalled = a.engine.recall(words_of(1))
    assert [memory.content for memory in recalled.memories] == [words_of(1)]
    assert "refuses the key" in recalled.note
    a.key = "new"
    assert a.engine.sync().problems == ()
    assert here.there() == [1]


def test_while_a_key_is_refused_nothing_but_the_check_is_asked(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = here.machine("a")
    here.remote.take_key(key="new")
    a.store.store(words_of(1))
    a.engine.sync()
    asked: list[str] = []
    client = a.engine._remote._client
    send = client.request

    def spy(method: str, path: str, **rest: object) -> object:
        asked.append(f"{method} {path}")
        return send(method, path, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(client, "request", spy)
    a.engine.sync()
    assert asked == ["GET /auth"]


def test_a_key_that_cannot_be_sent_is_refused_like_a_wrong_one(here: World) -> None:
    a = here.machine("a")
    for key in ("schlüssel", "key\n", "topsecret-1\nold: topsecret-0", ""):
        a.key = key
        done, told = a.engine.sync(), a.engine.recall(words_of(1))
        assert done.denied
        for said in (*done.problems, a.engine.status().reason, told.note):
            assert "the key" in said or "this key is refused" in said
            assert "secret" not in said
            assert "schl" not in said
    a.key = "right"
    assert a.engine.sync().problems == ()


def test_a_malformed_row_is_reported_and_comes_with_the_next_resync(here: World) -> None:
    a = here.machine("a")
    here.remote.put(first=1, count=3)
    here.remote.malform(first=2)
    (problem,) = a.engine.sync().problems
    assert "malformed" in problem
    assert a.words() == list(map(words_of, (1, 3)))
    here.remote.heal()
    assert a.engine.sync().pulled == 0
    assert a.engine.sync(full=True).pulled == 1


def test_what_the_remote_lost_is_pushed_again_by_a_resync(here: World) -> None:
    a = here.machine("a")
    a.store.store(words_of(1))
    a.engine.sync()
    with here.remote._own().transaction() as db:
        db.execute("DELETE FROM memories")
        db.execute("DELETE FROM keys")
    a.reopen()
    a.engine.sync()
    assert here.there() == [1]


def test_a_resync_that_was_cut_off_is_due_again(here: World) -> None:
    a = here.machine("a")
    here.remote.put(first=0, count=250)
    here.remote.fault(what="cut-reply", where="after=200", bytes_=2000)
    assert a.engine.sync().problems
    assert len(a.words()) == 200
    a.store.connection.write(lambda db: db.execute("DELETE FROM memories"))  # only a full one heals
    assert a.engine.sync().problems == ()
    assert len(a.words()) == 250


@pytest.mark.parametrize("seed", range(5))
def test_everything_is_compared_again_about_every_10_minutes(
    here: World, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """With the clock of the test, for a machine that is never restarted."""
    now = 1000.0
    monkeypatch.setattr(rounds, "time", SimpleNamespace(monotonic=lambda: now))
    a = here.machine("a", scale=1.0)
    a.engine._rounds._rng.seed(seed)
    here.remote.put(first=1, count=3)
    here.remote.malform(first=2)
    assert a.engine.sync().pulled == 2
    here.remote.heal()
    for after_s in (30.0, 300.0, 530.0):
        now = 1000.0 + after_s
        assert a.engine.sync().pulled == 0, after_s
    now = 1000.0 + 670.0
    assert a.engine.sync().pulled == 1
    here.remote.put(first=7, count=1)
    a.engine.sync()
    a.store.connection.write(lambda db: db.execute("DELETE FROM memories"))
    now += 530.0  # the next period begins where the last comparison ended
    assert a.engine.sync().pulled == 0
    now += 140.0
    assert a.engine.sync().pulled == 4


def test_without_the_resync_what_was_missed_stays_missed(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(rounds, "time", SimpleNamespace(monotonic=lambda: now))
    a = here.machine("a", ALL.without("sync_resync"), scale=1.0)
    here.remote.put(first=1, count=3)
    here.remote.malform(first=2)
    assert a.engine.sync().pulled == 2
    here.remote.heal()
    now += 10_000.0
    assert a.engine.sync().pulled == 0


def test_a_key_that_cannot_be_read_is_a_wrong_one(here: World, tmp_path: Path) -> None:
    a = here.machine("a")
    engine = SyncEngine(a.store, a.url, key=lambda: (tmp_path / "key").read_text().strip())
    done = engine.sync()
    assert done.denied
    assert "cannot be read" in done.problems[0]
    (tmp_path / "key").write_text("right\n")
    assert engine.sync().problems == ()
    engine.stop()


@pytest.mark.parametrize("url", ["", "remote.example", "ftp://remote.example", "http:"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    with LocalStore(tmp_path) as store, pytest.raises(PalaceInputError, match="is no address"):
        SyncEngine(store, url, key="k")


@pytest.mark.parametrize(
    "raw",
    [
        {},
        None,
        [],
        {"id": "7", "deleted": True},
        {"id": True, "deleted": True},
        {"id": 0, "deleted": True},
        {"id": 1, "content": "a", "namespace": "d", "created": "2025-01-01"},
        {"id": 1, "content": "", "namespace": "d", "created": "2025-01-01", "metadata": {}},
        {"id": 1, "content": "a", "namespace": 7, "created": "2025-01-01", "metadata": {}},
        {"id": 1, "content": "a", "namespace": "d", "created": 7, "metadata": {}},
        {"id": 1, "content": "a", "namespace": "d", "created": "2025-01-01", "metadata": []},
    ],
)
def test_a_row_is_looked_at_before_it_is_believed(raw: object) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        row_of(raw)


# Recall -----------------------------------------------------------------------------------------


def test_a_recall_hears_the_remote(here: World) -> None:
    a = here.machine("a")
    here.remote.put(first=1, count=2)
    a.store.store("memory of this machine alone")
    answer = a.engine.recall("memory")
    assert answer.complete
    assert {memory.content for memory in answer.memories} == {
        words_of(1), words_of(2), "memory of this machine alone",
    }  # fmt: skip


def test_a_recall_does_not_wait_for_a_remote_that_hangs_and_a_retry_has_its_answer(
    here: World,
) -> None:
    a = here.machine("a")
    here.remote.put(first=1)
    here.remote.fault(what="hold", where="GET /recall", hold_s=20 * RECALL_TIMEOUT_S)
    answer = a.engine.recall("memory")
    here.remote.expect_holding()
    assert (answer.memories, answer.complete, answer.note) == ((), False, STILL_WORKING)
    a.store.store(words_of(2))
    here.remote.expect_holding()  # storing waits for nothing
    here.remote.heal()
    again = a.engine.recall("memory")
    assert again.complete
    assert {memory.content for memory in again.memories} == {words_of(1), words_of(2)}


def test_storing_takes_as_long_while_the_remote_hangs(here: World) -> None:
    """Two machines in turns, one with a resync and a recall that wait for the remote."""
    hanging, idle = here.machine("hanging", scale=1.0), here.machine("idle", scale=1.0)
    here.remote.fault(what="hold", where="GET", times=2, hold_s=1000.0)
    hanging.engine.start()
    recalling = threading.Thread(target=lambda: hanging.engine.recall("memory"), daemon=True)
    recalling.start()
    here.remote.await_held()
    took: dict[str, list[float]] = {"hanging": [], "idle": []}
    for n in range(100):
        for name, machine in (("hanging", hanging), ("idle", idle)):
            began = time.monotonic()
            machine.store.store(words_of(n))
            took[name].append(time.monotonic() - began)
    here.remote.expect_holding()
    ratio = statistics.median(took["hanging"]) / statistics.median(took["idle"])
    print(f"median of a store while the remote hangs: {ratio:.2f} of one without")
    assert ratio < 2
    here.remote.heal()
    recalling.join(30)


def test_a_recall_without_a_remote_says_so(here: World) -> None:
    a = here.machine("a")
    a.store.store(words_of(1))
    here.remote.refuse_connections()
    answer = a.engine.recall("memory")
    assert [memory.content for memory in answer.memories] == [words_of(1)]
    assert not answer.complete
    assert "cannot be reached" in answer.note


def test_a_recall_does_not_bring_back_what_was_deleted_here(here: World) -> None:
    a = here.machine("a")
    memory = a.store.store(words_of(1))
    a.engine.sync()
    a.store.delete(memory.id)
    answer = a.engine.recall("memory")
    assert (answer.memories, answer.complete) == ((), True)


def test_no_more_than_so_many_questions_are_under_way() -> None:
    let_go = threading.Event()
    bounded: Bounded[int] = Bounded(0.01)
    try:
        assert all(bounded.ask(n, lambda: let_go.wait(30)) is None for n in range(4))
        assert bounded.ask("one more", lambda: 1) is None
    finally:
        let_go.set()
    assert Bounded[int](5.0).ask("one", lambda: 1) == 1


# The thread -------------------------------------------------------------------------------------


def test_the_engines_own_thread_asks_before_each_round_whether_it_may(here: World) -> None:
    here.remote.put(first=1)
    a = here.machine("a")
    asked, may, done = threading.Semaphore(0), threading.Event(), threading.Event()

    def may_sync() -> bool:
        if a.words():
            done.set()
        asked.release()
        return may.is_set()

    engine = SyncEngine(a.store, a.url, key="right", interval_s=0.01, may_sync=may_sync)
    engine.start()
    try:
        for _ in range(4):
            assert asked.acquire(timeout=30)
        assert a.words() == []  # after three rounds that were passed over
        may.set()
        assert done.wait(30)
        assert a.words() == [words_of(1)]
    finally:
        assert engine.stop()


def test_the_engines_own_thread_syncs_until_it_is_stopped(here: World) -> None:
    a = here.machine("a", scale=0.01)
    here.remote.fault(what="hold", where="GET /changes", hold_s=1000.0)
    a.engine.start()
    a.engine.start()
    here.remote.await_held()
    a.store.store(words_of(1))
    here.remote.expect_holding()
    here.remote.heal()
    done = threading.Event()
    watching = threading.Thread(target=lambda: wait_for(here, done))
    watching.start()
    assert done.wait(30)
    watching.join(30)
    assert a.engine.stop()


def wait_for(here: World, done: threading.Event) -> None:
    """Wait until the memory has come to the remote; the caller bounds it."""
    pause = threading.Event()
    for _ in range(600):
        if here.there() == [1]:
            done.set()
            return
        pause.wait(0.05)


def test_without_short_transactions_a_store_waits_for_the_remote(here: World) -> None:
    """What `sync_outside_lock` is for: here the lock is held while the remote is awaited."""
    a = here.machine("a", fixes=ALL.without("sync_outside_lock", "local_retry"), scale=0.02)
    here.remote.fault(what="hold", where="GET /changes", hold_s=1000.0)
    pulling = threading.Thread(target=lambda: a.engine.pull(full=True))
    pulling.start()
    here.remote.await_held()
    with pytest.raises(Exception, match="database is locked"):
        a.store.store(words_of(1))
    here.remote.heal()
    pulling.join(30)
    a.store.store(words_of(1))
