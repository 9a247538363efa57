"""Memories in one file: what is stored, found, deleted, and refused; threads and peers (S4)."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palace_store.errors import ForkedStoreError
from palace_store.fixes import Fixes
from palace_store.local import BadMemoryError, LocalStore, Memory, MemoryFileError
from palace_store.local.connection import BUSY_S, RETRY_TOTAL_S
from palace_store.sqlite_lock import PalaceLockedError

pytestmark = pytest.mark.s4

ALL, OFF = Fixes.all(), Fixes.none()
SCALE = 0.02


@contextmanager
def peer(palace: Path) -> Iterator[sqlite3.Connection]:
    """Open a raw connection that waits for nobody."""
    path = palace / "memories.sqlite3"
    with closing(
        sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    ) as db:
        yield db


def in_thread(work: Callable[[], object]) -> BaseException | None:
    """Run `work` in another thread; returns what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  (the test looks at it)
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    return raised[0] if raised else None


def nested(depth: int) -> list[object]:
    made: list[object] = []
    for _ in range(depth - 1):
        made = [made]
    return made


def test_metadata_may_be_nested_as_deep_as_its_bound(tmp_path: Path) -> None:
    with LocalStore(tmp_path) as store:
        kept = store.store("a", metadata={"n": nested(199)})
        assert store.get(kept.id) == kept


def test_the_interface_of_the_tools(tmp_path: Path) -> None:
    with LocalStore(tmp_path) as store:
        memory = store.store("The key is under the mat", namespace="home", metadata={"by": "ada"})
        assert isinstance(memory, Memory)
        assert store.get(memory.id) == memory
        assert (memory.namespace, memory.metadata) == ("home", {"by": "ada"})
        assert store.recall("KEY mat") == [memory]
        assert store.recall("key", namespace="work") == []
        assert store.count() == store.count(namespace="home") == 1
        assert store.count(namespace="work") == 0
        assert store.delete(memory.id)
        assert not store.delete(memory.id)
        assert (store.count(), store.all(), store.get(memory.id)) == (0, [], None)
    with LocalStore(tmp_path) as store:
        assert store.count() == 0


def test_equal_words_are_one_memory_and_a_deleted_one_comes_back(tmp_path: Path) -> None:
    with LocalStore(tmp_path) as store:
        first = store.store("a", metadata={"n": 1})
        assert store.store("a", metadata={"n": 2}) == first
        assert store.store("a", namespace="other").id != first.id
        store.write(lambda db: db.execute("UPDATE memories SET sent = 1"))
        assert store.delete(first.id)
        assert store.count() == 1
        again = store.store("a", metadata={"n": 3})
        assert (again.id, again.metadata) == (first.id, {"n": 3})


def test_recall_ranks_by_words_and_takes_signs_literally(tmp_path: Path) -> None:
    with LocalStore(tmp_path) as store:
        for words in ("red door", "red", "100% wool", "a_b", "acb", "back\\slash"):
            store.store(words)

        def found(query: str) -> list[str]:
            return [memory.content for memory in store.recall(query)]

        assert found("red door") == ["red door", "red"]
        assert found("0%") == ["100% wool"]
        assert found("a_b") == ["a_b"]
        assert found("k\\s") == ["back\\slash"]
        assert found("nowhere") == []
        assert len(store.recall("a", limit=2)) == 2


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda store: store.store(""), "content is empty"),
        (lambda store: store.store("  \n"), "content is empty"),
        (lambda store: store.store(7), "content is int, not text"),
        (lambda store: store.store("a\0b"), "NUL at position 1"),
        (lambda store: store.store("\ud800"), "lone surrogate"),
        (lambda store: store.store("x" * (1 << 20) + "x"), "at most 1048576"),
        (lambda store: store.store("é" * (1 << 19) + "x"), "1048577 bytes"),
        (lambda store: store.store("a", namespace=""), "namespace is empty"),
        (lambda store: store.store("a", metadata=[1]), "metadata is list"),
        (lambda store: store.store("a", metadata={"n": float("nan")}), "metadata is no JSON"),
        (lambda store: store.store("a", metadata={"n": object()}), "metadata is no JSON"),
        (lambda store: store.store("a", metadata={"n": "\ud800"}), "metadata is no JSON"),
        (lambda store: store.store("a", metadata={"n": "x" * 70_000}), "at most 65536"),
        (lambda store: store.store("a", metadata={"n": nested(200)}), "deeper than 200"),
        (lambda store: store.recall(" "), "query is empty"),
        (lambda store: store.recall("x" * 5000), "at most 4096"),
        (lambda store: store.recall("a", limit=0), "limit is 0"),
        (lambda store: store.recall("a", limit=True), "limit is True"),
        (lambda store: store.delete(None), "id is NoneType"),
        (lambda store: store.get("\ud800"), "lone surrogate"),
    ],
)
def test_bad_input_is_one_sentence_and_changes_nothing(
    tmp_path: Path, call: Callable[[LocalStore], object], said: str
) -> None:
    with LocalStore(tmp_path) as store:
        store.store("there")
        with pytest.raises(BadMemoryError, match=said) as caught:
            call(store)
        assert caught.value.effect == "none"
        assert "\n" not in str(caught.value)
        assert [memory.content for memory in store.all()] == ["there"]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_words_come_back_as_they_were_told(tmp_path: Path, words: str) -> None:
    with LocalStore(tmp_path) as store:
        if not words.strip():
            with pytest.raises(BadMemoryError):
                store.store(words)
            return
        memory = store.store(words)
        found = store.get(memory.id)
        assert found is not None
        assert found.content == words


# Threads ----------------------------------------------------------------------------------------


def test_threads_share_a_store(tmp_path: Path) -> None:
    with LocalStore(tmp_path) as store:

        def work(name: int) -> None:  # the number of a thread that ended is given to another
            for n in range(10):
                store.store(f"{name} {n}")

        raised: list[BaseException | None] = []
        threads = [
            threading.Thread(target=lambda name=name: raised.append(in_thread(partial(work, name))))
            for name in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert raised == [None] * 4
        assert store.count() == 40


def test_without_the_fix_a_second_thread_is_refused(tmp_path: Path) -> None:
    with LocalStore(tmp_path, fixes=ALL.without("local_any_thread")) as store:
        error = in_thread(store.count)
        assert isinstance(error, sqlite3.ProgrammingError)
        assert "SQLite objects created in a thread" in str(error)


def test_a_thread_that_keeps_the_store_does_not_keep_it_for_ever(tmp_path: Path) -> None:
    with LocalStore(tmp_path, time_scale=SCALE) as store:
        inside, done = threading.Event(), threading.Event()

        def keep() -> None:
            with store.transaction():
                inside.set()
                done.wait(30)

        keeper = threading.Thread(target=keep)
        keeper.start()
        assert inside.wait(30)
        with pytest.raises(PalaceLockedError, match="other threads of this process"):
            store.count()
        done.set()
        keeper.join(30)
        assert store.count() == 0


# Transactions -----------------------------------------------------------------------------------


class OopsError(Exception):
    pass


def fail_halfway(store: LocalStore, words: str = "c") -> None:
    """Raise in a transaction that has stored something and changed everything."""
    with store.transaction() as db:
        store.store(words)
        db.execute("UPDATE memories SET namespace = 'half'")
        raise OopsError


def test_an_exception_leaves_nothing_open(tmp_path: Path) -> None:
    with LocalStore(tmp_path) as store, peer(tmp_path) as other:
        store.store("a")
        with pytest.raises(OopsError):
            fail_halfway(store)
        with pytest.raises(OopsError):
            store.write(lambda _db: (_ for _ in ()).throw(OopsError()))
        other.execute("BEGIN IMMEDIATE")  # nobody holds the lock
        assert other.execute("SELECT namespace FROM memories").fetchall() == [("default",)]


def test_without_the_fix_it_stays_open_and_keeps_everybody_out(tmp_path: Path) -> None:
    fixes = ALL.without("local_transaction")
    with LocalStore(tmp_path, fixes=fixes) as store, peer(tmp_path) as other:
        store.store("a")
        with pytest.raises(OopsError):
            fail_halfway(store)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        store.store("b")  # commits the half of the one before as well
        assert ("half",) in other.execute("SELECT namespace FROM memories").fetchall()


def test_a_write_inside_a_transaction_is_part_of_it(tmp_path: Path) -> None:
    with LocalStore(tmp_path) as store:
        with store.transaction():
            store.store("a")
            with store.transaction():
                store.store("b")
        assert store.count() == 2
        with pytest.raises(OopsError):
            fail_halfway(store)
        assert store.count() == 2


# Other processes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fixes", "gives_up_after_s"),
    [(ALL, RETRY_TOTAL_S), (ALL.without("local_retry"), BUSY_S)],
    ids=["all", "no-retry"],
)
def test_a_peer_that_never_lets_go(tmp_path: Path, fixes: Fixes, gives_up_after_s: float) -> None:
    with LocalStore(tmp_path, fixes=fixes, time_scale=SCALE, seed=1) as store:
        with peer(tmp_path) as holder:
            holder.execute("BEGIN IMMEDIATE")
            begun = time.monotonic()
            with pytest.raises(PalaceLockedError, match=r"memories\.sqlite3") as caught:
                store.store("mine")
            waited_s = (time.monotonic() - begun) / SCALE
        assert caught.value.effect == "none"
        # Not the upper side: that would measure the machine.
        assert waited_s >= 0.9 * gives_up_after_s
        assert store.store("mine")


@pytest.mark.parametrize("block", [False, True])
def test_a_peer_that_lets_go_in_time(tmp_path: Path, *, block: bool) -> None:
    met = threading.Event()
    with (
        LocalStore(tmp_path, time_scale=SCALE, on_locked=met.set) as store,
        peer(tmp_path) as holder,
    ):
        holder.execute("BEGIN IMMEDIATE")

        def let_go() -> None:
            assert met.wait(30)  # so at least one whole wait of SQLite's was not enough
            holder.execute("ROLLBACK")

        helper = threading.Thread(target=let_go)
        helper.start()
        if block:
            with store.transaction():
                store.store("mine")
        else:
            store.store("mine")
        helper.join(30)
        assert store.count() == 1


@pytest.mark.parametrize("block", [False, True])
def test_who_waits_for_a_peer_keeps_no_reader_of_its_process_waiting(
    tmp_path: Path, *, block: bool
) -> None:
    with LocalStore(tmp_path) as store, peer(tmp_path) as holder:
        store.store("here")
        holder.execute("BEGIN IMMEDIATE")
        stored = threading.Event()

        def wait() -> None:
            if block:
                with store.transaction():
                    store.store("mine")
            else:
                store.store("mine")
            stored.set()

        writers = [threading.Thread(target=wait) for _ in range(3)]
        for writer in writers:
            writer.start()
        slowest_s = 0.0
        ends = time.monotonic() + BUSY_S + 1.0  # so through a pause between two waits as well
        while time.monotonic() < ends:
            begun = time.monotonic()
            assert [memory.content for memory in store.recall("here")] == ["here"]
            assert store.count() == 1
            slowest_s = max(slowest_s, time.monotonic() - begun)
            stored.wait(0.01)
        assert not stored.is_set()
        holder.execute("ROLLBACK")
        for writer in writers:
            writer.join(30)
        assert stored.is_set()
        assert store.count() == 2
        assert slowest_s < BUSY_S / 2, "a reader waited as long as who waits for the peer"


def test_a_reader_inside_a_transaction_sees_what_it_wrote(tmp_path: Path) -> None:
    with LocalStore(tmp_path) as store, store.transaction():
        store.store("mine")
        assert store.count() == 1


def test_a_store_that_is_closed_while_it_waits_says_so(tmp_path: Path) -> None:
    met = threading.Event()
    with LocalStore(tmp_path, time_scale=SCALE, on_locked=met.set) as store, peer(tmp_path) as held:
        held.execute("BEGIN IMMEDIATE")
        raised: list[BaseException | None] = []
        waiting = threading.Thread(
            target=lambda: raised.append(in_thread(lambda: store.store("a")))
        )
        waiting.start()
        assert met.wait(30)
        store.close()
        waiting.join(30)
        assert isinstance(raised[0], MemoryFileError)


def test_a_reader_keeps_no_writer_out_and_without_wal_it_does(tmp_path: Path) -> None:
    for name, fixes in (("wal", ALL), ("journal", ALL.without("local_wal", "local_retry"))):
        palace = tmp_path / name
        with LocalStore(palace, fixes=fixes, time_scale=SCALE) as store, peer(palace) as reader:
            store.store("a")
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM memories").fetchall()
            if name == "wal":
                store.store("b")
            else:
                with pytest.raises(PalaceLockedError):
                    store.store("b")


def test_a_fork_and_a_closed_store_are_told(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.store("a")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            store.close()
            store.count()
        except ForkedStoreError:
            code = 3
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert store.count() == 1
    store.close()
    store.close()
    with pytest.raises(MemoryFileError, match="is closed"):
        store.count()


def test_a_connection_for_sync_is_the_same_or_its_own(tmp_path: Path) -> None:
    with LocalStore(tmp_path) as store:
        assert store.connection.for_sync() is store.connection
    with LocalStore(tmp_path, fixes=OFF) as store:
        other = store.connection.for_sync()
        assert other is not store.connection
        assert other.read("SELECT count(*) FROM memories") == [(0,)]
        other.close()
