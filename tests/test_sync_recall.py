"""What a recall shows of here and of there: the best of both, and nothing that was deleted (S4)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from odd_remote import OddRemote, Request, odd_remote

from palace_store.local import LocalStore
from palace_store.sync import Recall, SyncEngine
from palace_store.sync.recall import STILL_WORKING

pytestmark = pytest.mark.s4

WAIT_S = 30.0


@pytest.fixture
def there(tmp_path: Path) -> Iterator[OddRemote]:
    with odd_remote(tmp_path / "remote") as remote:
        yield remote


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    with LocalStore(tmp_path / "palace") as opened:
        yield opened


@pytest.fixture
def engine(store: LocalStore, there: OddRemote) -> Iterator[SyncEngine]:
    made = SyncEngine(store, there.url, key="right", recall_timeout_s=WAIT_S)
    yield made
    assert made.stop()


@pytest.fixture
def hasty(store: LocalStore, there: OddRemote) -> Iterator[SyncEngine]:
    made = SyncEngine(store, there.url, key="right", recall_timeout_s=0.3)
    yield made
    assert made.stop()


def shown(answer: Recall) -> list[str]:
    return [memory.content for memory in answer.memories]


class Held:
    """Holds the next answer to a recall, which the remote has made already, until it is let go."""

    def __init__(self, there: OddRemote) -> None:
        self._there = there
        self._odd_before = there.odd
        self.asked, self.let_go, self.answered = (threading.Event() for _ in range(3))
        there.odd = self

    def __call__(self, request: Request) -> bool | None:
        if request.path != "/recall" or self.asked.is_set():
            return None
        body = self._there.recalled(request)
        self.asked.set()
        assert self.let_go.wait(WAIT_S)
        request.answer(200, body)
        self.answered.set()
        return True


def ask_again(engine: SyncEngine, query: str) -> Recall:
    """Ask until the remote's answer has come through."""
    for _ in range(100):
        answer = engine.recall(query)
        if answer.complete:
            return answer
    raise AssertionError(answer)


def test_a_late_answer_shows_nothing_that_was_deleted_meanwhile(
    there: OddRemote, store: LocalStore, hasty: SyncEngine
) -> None:
    gone, kept = store.store("the door code is 1234"), store.store("the door is red")
    assert hasty.sync().problems == ()
    held = Held(there)
    assert hasty.recall("door").note == STILL_WORKING
    assert held.asked.wait(WAIT_S)
    assert store.delete(gone.id)
    assert hasty.sync().problems == ()
    held.let_go.set()
    assert held.answered.wait(WAIT_S)
    assert shown(ask_again(hasty, "door")) == [kept.content]


def test_a_late_answer_shows_nothing_that_another_machine_deleted(
    there: OddRemote, hasty: SyncEngine
) -> None:
    number = there.put("the door code is 1234")
    assert hasty.sync().pulled == 1
    held = Held(there)
    assert hasty.recall("door").note == STILL_WORKING
    assert held.asked.wait(WAIT_S)
    there.store.delete(number)
    assert hasty.sync().pulled == 1
    held.let_go.set()
    assert held.answered.wait(WAIT_S)
    assert shown(ask_again(hasty, "door")) == []


def test_an_answer_shows_nothing_whose_deletion_was_told_while_it_was_made(
    there: OddRemote, store: LocalStore, engine: SyncEngine
) -> None:
    """Deleted before it was asked; the remote answers, and only then hears of the deletion."""
    gone = store.store("the door code is 1234")
    assert engine.sync().problems == ()
    assert store.delete(gone.id)
    held = Held(there)
    answers: list[Recall] = []
    asking = threading.Thread(target=lambda: answers.append(engine.recall("door")))
    asking.start()
    assert held.asked.wait(WAIT_S)
    assert engine.sync().pushed == 1
    assert there.there() == []
    held.let_go.set()
    asking.join(WAIT_S)
    assert answers[0].complete
    assert shown(answers[0]) == []


def test_a_late_answer_still_comes_when_nothing_was_deleted(
    there: OddRemote, store: LocalStore, hasty: SyncEngine
) -> None:
    there.put("the door is red")
    held = Held(there)
    assert hasty.recall("door").note == STILL_WORKING
    assert held.asked.wait(WAIT_S)
    store.store("the door is green")
    held.let_go.set()
    assert held.answered.wait(WAIT_S)
    assert sorted(shown(ask_again(hasty, "door"))) == ["the door is green", "the door is red"]
    assert there.asked.count("GET /recall") == 1


def test_the_best_of_both_is_shown_whoever_has_it(
    there: OddRemote, store: LocalStore, engine: SyncEngine
) -> None:
    for number in range(10):
        there.put(f"key number {number}", created="2020-01-01T00:00:00+00:00")
    best = store.store("the KEY is under the mat")
    answer = engine.recall("key mat", limit=10)
    assert answer.complete
    assert len(answer.memories) == 10
    assert shown(answer)[0] == best.content
    there.put("a key, a mat, a door")
    assert shown(engine.recall("key mat door", limit=20))[0] == "a key, a mat, a door"
    newest = store.store("key number ten")
    assert shown(engine.recall("number", limit=2))[0] == newest.content


def test_what_a_remote_finds_by_other_means_comes_after_and_in_its_order(
    there: OddRemote, store: LocalStore, engine: SyncEngine
) -> None:
    store.store("a red door")
    rows = [
        {"id": n, "namespace": "default", "content": c, "metadata": {}, "created": "2020-01-01"}
        for n, c in ((1, "an entrance"), (2, "a gate"), (3, "the door"))
    ]
    there.odd = lambda request: request.path == "/recall" and request.answer(200, {"rows": rows})
    assert shown(engine.recall("door")) == ["a red door", "the door", "an entrance", "a gate"]


def test_a_recall_of_one_namespace_shows_no_other_whatever_the_remote_sends(
    there: OddRemote, store: LocalStore, engine: SyncEngine
) -> None:
    store.store("report of here", namespace="work")
    rows = [
        {
            "id": n,
            "namespace": at,
            "content": f"report {n}",
            "metadata": {},
            "created": "2020-01-01",
        }
        for n, at in enumerate(("private", "work", "works"), 1)
    ]
    there.odd = lambda request: request.path == "/recall" and request.answer(200, {"rows": rows})
    assert shown(engine.recall("report", namespace="work")) == ["report of here", "report 2"]
    assert len(shown(engine.recall("report"))) == 4


def test_what_was_shown_can_be_deleted_before_it_was_pulled(
    there: OddRemote, store: LocalStore, engine: SyncEngine
) -> None:
    there.put("a wrong fact")
    (memory,) = engine.recall("wrong").memories
    assert store.get(memory.id) is None
    assert not store.delete(memory.id)
    assert engine.delete(memory.id)
    assert shown(engine.recall("wrong")) == []
    assert engine.memory_count()["pending"] == 1
    assert engine.sync().problems == ()
    assert there.there() == []
    assert (store.count(), engine.memory_count()["pending"]) == (0, 0)
    assert not engine.delete(memory.id)


def test_what_was_shown_and_deleted_may_be_stored_again(
    there: OddRemote, store: LocalStore, engine: SyncEngine
) -> None:
    there.put("a fact")
    (memory,) = engine.recall("fact").memories
    assert engine.delete(memory.id)
    store.store("a fact", metadata={"sure": True})
    assert engine.sync(full=True).problems == ()
    assert there.there() == ["a fact"]
    assert [each.metadata for each in store.all()] == [{"sure": True}]


def test_what_was_pulled_since_it_was_shown_is_deleted_like_any_other(
    there: OddRemote, store: LocalStore, engine: SyncEngine
) -> None:
    there.put("a wrong fact")
    (memory,) = engine.recall("wrong").memories
    assert engine.sync().pulled == 1
    assert engine.delete(memory.id)
    assert engine.sync().problems == ()
    assert (there.there(), store.count()) == ([], 0)
    assert not engine.delete("nothing of the kind")


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("there_again", [False, True])
def test_what_was_shown_of_a_former_remote_is_deleted_in_nobody_elses_place(
    there: OddRemote, store: LocalStore, tmp_path: Path, there_again: bool, elsewhere: bool
) -> None:
    """Its number is that of other words by then: at another address, or at the same one."""
    engine = SyncEngine(store, there.url, key="right")
    assert engine.sync().problems == ()
    there.put("alpha fact")
    (memory,) = engine.recall("alpha").memories
    with odd_remote(tmp_path / "other") as other:
        other.put("beta fact")
        if there_again:
            other.put("alpha fact")
        now = engine
        if elsewhere:
            now = SyncEngine(store, other.url, key="right")
        else:
            there.odd = other.serve
        assert now.sync(full=True).problems == ()
        assert engine.delete(memory.id)
        for full in (None, True):
            assert now.sync(full=full).problems == ()
        assert other.there() == ["beta fact"]
        assert [each.content for each in store.all()] == ["beta fact"]
        assert now.status().state == "in sync"
        now.stop()
    engine.stop()


def test_what_was_shown_of_a_former_remote_waits_for_the_list_of_the_new_one(
    there: OddRemote, store: LocalStore, engine: SyncEngine, tmp_path: Path
) -> None:
    there.put("alpha fact")
    assert engine.push().problems == ()  # the address is known
    (memory,) = engine.recall("alpha").memories
    with odd_remote(tmp_path / "other") as other:
        other.put("beta fact")
        other.put("alpha fact")
        now = SyncEngine(store, other.url, key="right")
        assert now.push().problems == ()
        assert engine.delete(memory.id)
        assert now.push().pushed == 0
        assert now.sync().problems == ()
        assert other.there() == ["beta fact"]
        assert [each.content for each in store.all()] == ["beta fact"]
        now.stop()
