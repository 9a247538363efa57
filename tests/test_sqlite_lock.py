"""How long a lock is waited for, and what is known of a COMMIT that failed."""

from __future__ import annotations

import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from palace_store import sqlite_lock
from palace_store.sqlite_lock import Patience, is_lock_error, transaction
from palace_store.triples import (
    PalaceLockedError,
    TripleStore,
)


def test_pauses_are_bounded_and_come_from_the_seed(tmp_path: Path) -> None:
    def pauses(seed: int) -> list[float]:
        slept: list[float] = []
        patience = Patience(
            tmp_path, busy_s=0, total_s=100, attempts_max=9, backoff_first_s=0.02,
            backoff_max_s=1.0, rng=random.Random(seed),  # noqa: S311  (jitter)
        )  # fmt: skip

        def refuse() -> None:
            raise BlockingIOError

        with closing(sqlite3.connect(":memory:")) as db, pytest.MonkeyPatch.context() as patch:
            patch.setattr("time.sleep", slept.append)
            with pytest.raises(PalaceLockedError, match="its lock file"):
                patience.run(db, refuse)
        return slept

    one = pauses(3)
    assert one == pauses(3) != pauses(4)
    assert len(one) == 8
    assert all(0 <= pause <= min(1.0, 0.02 * 2**n) for n, pause in enumerate(one))


def test_one_wait_is_never_longer_than_what_is_left(tmp_path: Path) -> None:
    patience = Patience(
        tmp_path, busy_s=10, total_s=2, attempts_max=4, backoff_first_s=0.02,
        backoff_max_s=1.0, rng=random.Random(0),  # noqa: S311  (jitter)
    )  # fmt: skip
    waits_ms: list[int] = []
    with closing(sqlite3.connect(":memory:")) as db:

        def refuse() -> None:
            waits_ms.append(db.execute("PRAGMA busy_timeout").fetchone()[0])
            raise BlockingIOError

        with pytest.raises(PalaceLockedError):
            patience.run(db, refuse)
    assert waits_ms[0] == 2000
    assert waits_ms == sorted(set(waits_ms), reverse=True)
    assert len(waits_ms) == 4


@pytest.mark.parametrize("in_time", [False, True])
def test_a_wait_to_begin_is_cut_into_slices_and_as_long_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, in_time: bool
) -> None:
    """Between two slices Python can run the handler of a signal."""
    monkeypatch.setattr(sqlite_lock, "_SLICE_MS", 20)
    begun: list[str] = []
    with (
        closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as db,
        closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as holder,
    ):
        holder.execute("BEGIN IMMEDIATE")

        def trace(statement: str) -> None:
            if statement == "BEGIN IMMEDIATE":
                begun.append(statement)
                if in_time and len(begun) == 3:
                    holder.execute("ROLLBACK")

        db.set_trace_callback(trace)
        db.execute("PRAGMA busy_timeout = 100")
        if in_time:
            assert transaction(db, "BEGIN IMMEDIATE", lambda: 7) == 7
            assert len(begun) == 3
            assert db.execute("PRAGMA busy_timeout").fetchone() == (100,)
        else:
            before = time.monotonic()
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                transaction(db, "BEGIN IMMEDIATE", lambda: 7)
            assert time.monotonic() - before >= 0.09
            assert len(begun) > 1


def test_an_error_that_is_no_lock_is_not_tried_again(tmp_path: Path) -> None:
    with TripleStore(tmp_path) as store:
        tries = 0

        def fail() -> None:
            nonlocal tries
            tries += 1
            raise sqlite3.OperationalError("disk I/O error")

        store.on_read = fail
        store.add("a", "p", "o")
        with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
            store.invalidate("a", "p", "o")
        assert tries == 1
        store.on_read = None
        assert store.invalidate("a", "p", "o") == 1


def test_a_refused_commit_is_rolled_back_and_run_again(tmp_path: Path) -> None:
    """Without WAL a reader refuses the COMMIT itself, and its transaction stays open."""
    with closing(sqlite3.connect(tmp_path / "db", timeout=0, isolation_level=None)) as db:
        db.execute("CREATE TABLE t (n)")
        with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM t").fetchall()
            runs = 0

            def work() -> None:
                nonlocal runs
                runs += 1
                db.execute("INSERT INTO t VALUES (1)")

            def let_go() -> None:
                assert not db.in_transaction
                reader.execute("ROLLBACK")

            patience = Patience(
                tmp_path, busy_s=0, total_s=10, attempts_max=3, backoff_first_s=0.001,
                backoff_max_s=0.001, rng=random.Random(0),  # noqa: S311  (jitter)
            )  # fmt: skip
            patience.run(db, lambda: transaction(db, "BEGIN", work), let_go)
        assert runs == 2
        assert db.execute("SELECT count(*) FROM t").fetchone() == (1,)


def test_an_ambiguous_commit_is_unknown_and_not_run_again() -> None:
    class Ambiguous(sqlite3.Connection):
        commits = 0

        def execute(self, sql: str, _parameters: object = (), /) -> sqlite3.Cursor:
            cursor = super().execute(sql)
            if sql == "COMMIT":
                self.commits += 1
                raise sqlite3.OperationalError("database is locked")
            return cursor

    with closing(sqlite3.connect(":memory:", isolation_level=None, factory=Ambiguous)) as db:
        patience = Patience(
            Path("x"), busy_s=0, total_s=10, attempts_max=3, backoff_first_s=0.001,
            backoff_max_s=0.001, rng=random.Random(0),  # noqa: S311  (jitter)
        )  # fmt: skip
        with pytest.raises(PalaceLockedError, match="is unknown") as caught:
            patience.run(db, lambda: transaction(db, "BEGIN", lambda: None))
        assert caught.value.effect == "unknown"
        assert db.commits == 1


@pytest.mark.parametrize(
    ("error", "is_lock"),
    [
        (sqlite3.OperationalError("database is locked"), True),
        (sqlite3.OperationalError("locking protocol"), True),
        (BlockingIOError(), True),
        (sqlite3.OperationalError("disk I/O error"), False),
        (sqlite3.DatabaseError("database is locked"), False),
        (PalaceLockedError("database is locked: for long"), False),
        (OSError(), False),
    ],
)
def test_what_a_lock_error_is(error: BaseException, *, is_lock: bool) -> None:
    assert is_lock_error(error) is is_lock
