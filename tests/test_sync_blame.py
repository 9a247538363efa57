"""Whose fault a failure is: the operation's, the key's, or the remote's (S4).

A filter in front of a remote that refuses certain words answers as an outage or a wrong key does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from remote_bench import Machine, World, world

from palace_lab.targets.memory_files import words_of
from palace_store.sync.blame import PASSED_MAX
from palace_store.sync.push import ATTEMPTS_MAX

pytestmark = pytest.mark.s4

STATUSES = pytest.mark.parametrize("status", [403, 503, 504])


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "world") as made:
        yield made


def remember(machine: Machine, *numbers: int) -> None:
    """Store memories, in the order of their numbers."""
    for n in numbers:
        memory = machine.store.store(words_of(n))
        dated = (f"2025-01-01T00:{n:02}:00+00:00", memory.id)
        machine.store.connection.write(
            lambda db, dated=dated: db.execute(  # type: ignore[misc]
                "UPDATE memories SET created = ? WHERE id = ?", dated
            )
        )


def refusals(here: World) -> int:
    """Return how often the remote refused to store anything."""
    with here.remote._own().transaction() as db:
        return int(db.execute("SELECT count(*) FROM refusals").fetchone()[0])


@STATUSES
def test_what_a_filter_always_refuses_keeps_nobody_back(here: World, status: int) -> None:
    a = here.machine("a")
    here.remote.answer(first=1, status=status)
    remember(a, 1, 2, 3)
    a.engine.sync()
    a.engine.sync()
    assert here.there() == [2, 3]


@STATUSES
def test_what_a_filter_always_refuses_is_parked_while_others_are_taken(
    here: World, status: int
) -> None:
    a = here.machine("a")
    here.remote.answer(first=1, status=status)
    remember(a, 1)
    for n in range(2, 2 + ATTEMPTS_MAX):
        assert a.engine.parked() == ()
        remember(a, n)
        assert not a.engine.sync().denied
    (parked,) = a.engine.parked()
    assert (parked.content, parked.attempts) == (words_of(1), ATTEMPTS_MAX)
    assert str(status) in parked.reason
    assert here.there() == list(range(2, 2 + ATTEMPTS_MAX))
    here.remote.heal()
    a.engine.retry_parked()
    a.engine.sync()
    assert here.there() == list(range(1, 2 + ATTEMPTS_MAX))


def test_a_key_that_is_refused_for_one_memory_is_not_refused(here: World) -> None:
    a = here.machine("a")
    here.remote.answer(first=1, status=403)
    remember(a, 1)
    for _ in range(ATTEMPTS_MAX + 1):
        assert not a.engine.sync().denied
    status = a.engine.status()
    assert (status.state, status.pending, status.parked) == ("behind", 1, ())
    assert "403" in status.reason
    assert a.engine.recall("memory").complete


def test_a_remote_that_asks_to_be_asked_less_is_asked_no_more_in_that_round(here: World) -> None:
    a = here.machine("a")
    here.remote.answer(first=1, count=9, status=429)
    remember(a, *range(10))
    for _ in range(ATTEMPTS_MAX + 1):
        assert a.engine.sync().away
    assert refusals(here) == ATTEMPTS_MAX + 1
    assert a.engine.parked() == ()


def test_who_failed_least_comes_first(here: World) -> None:
    """In a round that asks one operation only, that is not the one that fails again and again."""
    a = here.machine("a")
    here.remote.answer(first=1, status=500)
    remember(a, 1)
    assert a.engine.push().problems
    here.remote.answer(first=1, count=2, status=429)
    remember(a, 2)
    assert a.engine.push().away
    with here.remote._own().transaction() as db:
        asked = db.execute("SELECT * FROM refusals ORDER BY rowid").fetchall()
    assert asked == [(words_of(1), 500), (words_of(2), 429)]


@STATUSES
def test_while_nothing_at_all_is_taken_nothing_counts(here: World, status: int) -> None:
    """A key that may only read, a database that is full: the light check knows nothing of that."""
    a = here.machine("a")
    a.engine.sync()
    here.remote.answer(first=1, count=9, status=status)
    remember(a, *range(1, 10))
    for _ in range(ATTEMPTS_MAX + 1):
        assert a.engine.sync().problems
    assert a.engine.parked() == ()
    assert a.engine.status().pending == 9
    here.remote.heal()
    a.engine.sync()
    assert here.there() == list(range(1, 10))


@STATUSES
def test_of_many_that_are_refused_a_round_asks_few_and_the_next_round_others(
    here: World, status: int
) -> None:
    a = here.machine("a")
    many = 3 * PASSED_MAX
    here.remote.answer(first=1, count=many, status=status)
    remember(a, *range(1, many + 1))
    remember(a, many + 1)
    for rounds in (1, 2, 3):
        a.engine.sync()
        assert refusals(here) == rounds * PASSED_MAX
    a.engine.sync()
    assert here.there() == [many + 1]
    assert a.engine.parked() == ()


@pytest.mark.parametrize("what", ["refuse", "key"])
def test_an_outage_or_a_wrong_key_during_a_round_counts_for_nobody(
    here: World, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = here.machine("a")
    remember(a, 1, 2, 3)
    client = a.engine._remote._client
    send = client.request

    def spy(method: str, path: str, **rest: object) -> object:
        answer = send(method, path, **rest)  # type: ignore[arg-type]
        if method == "POST":  # one is taken, then it begins
            if what == "refuse":
                here.remote.refuse_connections()
            else:
                here.remote.take_key(key="new", denial=403)
        return answer

    for _ in range(ATTEMPTS_MAX + 1):
        a.store.connection.write(lambda db: db.execute("UPDATE memories SET pending = 'store'"))
        a.store.connection.write(lambda db: db.execute("UPDATE memories SET remote_id = NULL"))
        monkeypatch.setattr(client, "request", spy)
        done = a.engine.push()
        assert (done.pushed, done.away, done.denied) == (1, what == "refuse", what == "key")
        monkeypatch.setattr(client, "request", send)
        here.remote.listen()
        here.remote.take_key(key="right")
    assert a.engine.parked() == ()
    attempts = a.store.connection.read("SELECT max(attempts) FROM memories")
    assert attempts == [(0,)]
