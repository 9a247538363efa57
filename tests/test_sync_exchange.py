"""A remote that is not the one it was: another address, or an older state of the same one (S4)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from remote_bench import SCALE, Machine, World, settle, world

from palace_lab.targets.memory_files import words_of
from palace_store.sync import SyncEngine
from palace_store.sync.rows import history_of

pytestmark = pytest.mark.s4


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "world") as made:
        yield made


def memories(*numbers: int) -> list[str]:
    return sorted(map(words_of, numbers))


def remember(machine: Machine, *numbers: int) -> None:
    for n in numbers:
        machine.store.store(words_of(n))


def forget(machine: Machine, *numbers: int) -> None:
    for memory in machine.store.all():
        if memory.content in memories(*numbers):
            assert machine.store.delete(memory.id)


def test_another_remote_takes_nothing_away_for_what_was_deleted_there(here: World) -> None:
    a, other = here.machine("a"), here.machine("other")
    remember(a, 1, 2, 3, 4)
    settle(a)
    here.exchange()
    remember(other, 11, 12, 13)
    settle(other)
    forget(other, 11, 12, 13)
    settle(other)
    settle(a, other)
    assert a.words() == other.words() == memories(1, 2, 3, 4)
    assert here.there() == [1, 2, 3, 4]
    assert a.engine.status().state == "in sync"


def test_another_remote_is_told_everything_whatever_its_own_numbers(here: World) -> None:
    a, other = here.machine("a"), here.machine("other")
    remember(a, 1, 2, 3)
    settle(a)
    here.exchange()
    remember(other, 2, 11, 12)
    settle(other)
    settle(a, other)
    assert a.words() == other.words() == memories(1, 2, 3, 11, 12)
    assert here.there() == [1, 2, 3, 11, 12]


def test_an_address_back_and_forth_leaves_each_memory_once(here: World) -> None:
    a = here.machine("a")
    remember(a, 1, 2)
    settle(a)
    first = a.url
    here.exchange()
    remember(a, 3)
    settle(a)
    a.url = first
    a.reopen()
    settle(a)
    assert a.engine.memory_count()["remote"] == 3
    assert a.words() == memories(1, 2, 3)


def test_what_is_deleted_at_the_time_of_the_exchange_is_deleted_at_the_other_remote(
    here: World,
) -> None:
    a, other = here.machine("a"), here.machine("other")
    remember(a, 1, 2, 3)
    settle(a)
    forget(a, 1)  # told to nobody yet
    here.exchange()
    forget(a, 2)
    remember(other, 1, 2, 3)
    assert other.engine.sync().problems == ()
    here.remote.fault(what="cut-reply", where="GET /changes")
    assert a.engine.sync().problems  # what the other has is not known, so nothing is dropped
    settle(a, other)
    assert a.words() == other.words() == memories(3)
    assert here.there() == [3]


def test_what_was_deleted_is_not_sent_to_another_remote(here: World) -> None:
    a = here.machine("a")
    remember(a, 1, 2)
    settle(a)
    forget(a, 1)
    here.exchange()
    settle(a)
    assert here.there() == [2]
    rows = here.remote._own().rows("content = ?", (words_of(1),))
    assert rows == []
    assert here.read()["machines"]["a"]["pending"] == []


def test_words_that_came_again_at_one_remote_come_the_first_time_at_another(here: World) -> None:
    """Two machines that store the same there share one memory, whatever was before."""
    a, other = here.machine("a"), here.machine("other")
    remember(a, 1)
    settle(a)
    forget(a, 1)
    settle(a)
    remember(a, 1)
    settle(a)
    remember(a, 1)  # to be told, also where no list comes through
    here.exchange()
    remember(other, 1)
    for machine in (a, other):
        assert machine.engine.push().pushed == 1
    assert here.there() == [1]


def test_what_was_parked_at_one_remote_is_tried_at_another(here: World) -> None:
    a = here.machine("a")
    here.remote.answer(first=1, status=422)
    remember(a, 1)
    for _ in range(6):
        a.engine.sync()
    assert len(a.engine.parked()) == 1
    here.exchange()
    settle(a)
    assert here.there() == [1]
    assert a.engine.parked() == ()


def test_an_exchange_whose_first_list_is_cut_off_compares_everything_again(here: World) -> None:
    a, other = here.machine("a"), here.machine("other")
    remember(a, 1)
    settle(a)
    here.exchange()
    remember(other, 2)
    settle(other)
    here.remote.fault(what="cut-reply", where="GET /changes", times=2)
    for _ in range(2):
        assert a.engine.pull(full=False).problems
    a.engine.pull(full=False)
    assert a.engine.push().problems == ()
    assert here.there() == [1, 2]


def test_what_one_remote_answers_is_not_noted_of_another(here: World) -> None:
    """Two servers of one palace with two remotes: one is under way when the other begins."""
    a = here.machine("a")
    first = here.remote
    remember(a, 1, 2)
    first.fault(what="hold", where="POST /memories", hold_s=200.0)
    problems: list[str] = []
    pushing = threading.Thread(target=lambda: problems.extend(a.engine.push().problems))
    pushing.start()
    first.await_held()
    other = SyncEngine(a.store, here.begin(), key="right", time_scale=SCALE)
    assert other.pull().problems == ()
    first.heal()
    pushing.join(30)
    assert len(problems) == 1
    assert "exchanged during this round" in problems[0]
    assert a.store.connection.read("SELECT remote_id FROM memories") == [(None,), (None,)]
    assert other.sync().problems == ()
    assert here.there() == [1, 2]
    other.stop()


def test_a_remote_that_was_restored_from_a_backup_is_told_what_it_lost(here: World) -> None:
    a, other = here.machine("a"), here.machine("other")
    remember(a, 1, 2, 3)
    settle(a)
    backup = here.back_up()
    remember(a, 4)
    settle(a)
    here.restore(backup)
    remember(other, 5)
    settle(other)  # under the number that memory 4 had
    settle(a, full=True)
    settle(other)
    assert here.there() == [1, 2, 3, 4, 5]
    forget(other, 5)
    settle(other, a)
    assert a.words() == other.words() == memories(1, 2, 3, 4)
    assert here.there() == [1, 2, 3, 4]


def test_a_number_that_means_other_words_now_deletes_nobody(here: World) -> None:
    """The list of a restored remote, with deletions under numbers that were others' before."""
    a, other = here.machine("a"), here.machine("other")
    remember(a, 1, 2, 3)
    settle(a)
    backup = here.back_up()
    remember(a, *range(4, 20))
    settle(a)
    here.restore(backup)
    remember(other, 20, 21, 22)
    settle(other)
    forget(other, 20, 21)
    settle(other)
    settle(a, full=True)
    settle(other)
    assert a.words() == other.words() == memories(*range(1, 20), 22)
    assert here.there() == sorted([*range(1, 20), 22])


def test_a_deletion_is_told_to_nobody_elses_memory(here: World) -> None:
    """After a restore the number of what is deleted here is that of another's words there."""
    a, other = here.machine("a"), here.machine("other")
    remember(a, 1)
    settle(a)
    backup = here.back_up()
    remember(a, 2)
    settle(a)
    here.restore(backup)
    remember(other, 3)
    settle(other)
    forget(a, 2)
    a.reopen()
    settle(a, other)
    assert a.words() == other.words() == memories(1, 3)
    assert here.there() == [1, 3]


def test_a_memory_told_again_after_a_restore_is_not_taken_for_who_has_its_number(
    here: World,
) -> None:
    a, other = here.machine("a"), here.machine("other")
    remember(a, 1)
    settle(a)
    backup = here.back_up()
    remember(a, 2)
    settle(a)
    here.restore(backup)
    remember(other, 3)
    settle(other)
    remember(a, 2)
    a.engine.push()  # the number is there
    a.reopen()
    settle(a, other)
    assert here.there() == [1, 2, 3]


@pytest.mark.parametrize("reopened", [False, True])
def test_a_remote_that_says_it_was_restored_deletes_nothing_by_numbers(
    here: World, reopened: bool
) -> None:
    """A deletion alone shows nothing of the words its number stood for."""
    a, other = here.machine("a"), here.machine("other")
    remember(a, 1, 2, 3)
    settle(a)
    backup = here.back_up()
    remember(a, 4)
    settle(a)
    here.restore(backup, told=True)
    remember(other, 5)
    settle(other)
    forget(other, 5)
    settle(other)
    if reopened:
        a.reopen()
    settle(a, other)
    assert a.words() == other.words() == memories(1, 2, 3, 4)
    assert here.there() == [1, 2, 3, 4]


def test_a_remote_that_says_it_was_restored_is_told_no_deletion_by_an_old_number(
    here: World,
) -> None:
    a, other = here.machine("a"), here.machine("other")
    remember(a, 1)
    settle(a)
    backup = here.back_up()
    remember(a, 2)
    settle(a)
    here.restore(backup, told=True)
    remember(other, 3)
    settle(other)
    forget(a, 2)
    settle(a, other)
    assert a.words() == other.words() == memories(1, 3)
    assert here.there() == [1, 3]


def test_a_number_that_came_before_any_list_is_of_its_history_too(here: World) -> None:
    a, other = here.machine("a"), here.machine("other")
    empty = here.back_up()
    remember(a, 1)
    here.remote.fault(what="cut-request", where="GET /changes")
    assert a.engine.sync().pushed == 1
    here.restore(empty, told=True)
    remember(other, 2)
    settle(other)
    forget(other, 2)
    settle(other)
    settle(a, other)
    assert a.words() == other.words() == memories(1)
    assert here.there() == [1]


def test_a_push_notices_another_history_and_notes_nothing_of_it(here: World) -> None:
    a = here.machine("a")
    remember(a, 1)
    settle(a)
    here.remote._own().begin_history()
    remember(a, 2)
    (problem,) = a.engine.push().problems
    assert "is not the remote it was" in problem
    assert a.store.connection.read("SELECT remote_id FROM memories") == [(None,), (None,)]
    settle(a)
    assert here.there() == [1, 2]


@pytest.mark.parametrize("again", [False, True])
def test_without_a_list_no_number_is_used_in_another_history(here: World, again: bool) -> None:
    """Only a push comes through: of a deletion, or of a memory that was told again."""
    a, other = here.machine("a"), here.machine("other")
    remember(a, 1)
    settle(a)
    backup = here.back_up()
    remember(a, 2)
    settle(a)
    here.restore(backup, told=True)
    remember(other, 3)
    settle(other)
    if again:
        remember(a, 2)
    else:
        forget(a, 2)
    (problem,) = a.engine.push().problems
    assert "is not the remote it was" in problem
    assert here.there() == [1, 3]
    settle(a, other)
    left = (1, 2, 3) if again else (1, 3)
    assert a.words() == other.words() == memories(*left)
    assert here.there() == list(left)


def test_a_history_is_met_anew_once(here: World) -> None:
    a = here.machine("a")
    remember(a, 1)
    settle(a)
    here.remote._own().begin_history()
    assert a.engine.sync().problems == ()
    before = a.store.connection.read("SELECT * FROM sync ORDER BY name")
    settle(a)
    assert a.store.connection.read("SELECT * FROM sync ORDER BY name") == before
    assert here.there() == [1]


@pytest.mark.parametrize("raw", [None, 7, "", "a\nb", "\ud83d", "ä", '"', "a" * 201, {}])
def test_a_name_of_a_history_that_is_none_is_as_good_as_none(raw: object) -> None:
    assert history_of(raw) == ""
    assert history_of("b7") == "b7"


def test_a_remote_that_was_emptied_is_told_everything(here: World) -> None:
    a = here.machine("a")
    empty = here.back_up()
    remember(a, 1, 2)
    settle(a)
    forget(a, 1)
    settle(a)
    remember(a, 1)
    settle(a)  # no longer the first memory of these words
    here.restore(empty)
    settle(a, full=True)
    assert here.there() == [1, 2]


def test_a_remote_that_gives_one_number_to_two_memories_loses_neither_here(here: World) -> None:
    a = here.machine("a")
    here.remote.put(first=1, count=2)
    rows = here.remote._own().rows

    def doubled(where: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        return [(1, *row[1:]) for row in rows(where, values)]

    here.remote._own().rows = doubled  # type: ignore[method-assign]
    for _ in range(3):
        a.engine.sync(full=True)
    assert a.words() == memories(1, 2)
