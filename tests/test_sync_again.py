"""Words that are deleted and stored again, refused and deleted, or at the remote twice (S4)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from odd_remote import OddRemote, Request, odd_remote
from remote_bench import Machine, World, settle, world

from palace_lab.targets.memory_files import words_of
from palace_store.local import LocalStore
from palace_store.local.memory import DEFAULT_NAMESPACE, id_of
from palace_store.sync import SyncEngine, intake, ledger
from palace_store.sync.known import meet
from palace_store.sync.push import ATTEMPTS_MAX

pytestmark = pytest.mark.s4

ID = id_of(DEFAULT_NAMESPACE, words_of(1))


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "world") as made:
        yield made


def live(here: World) -> list[tuple[str, Any]]:
    """Return words and metadata of what the remote has."""
    return [(row[3], json.loads(row[4])) for row in here.remote._own().rows("NOT deleted", ())]


def held(machine: Machine) -> list[tuple[str, Any]]:
    return [(memory.content, memory.metadata) for memory in machine.store.all()]


def posts(here: World) -> int:
    """Return how many memories the remote was ever sent, deleted ones too."""
    return len(here.remote._own().rows("1", ()))


# Deleted, and stored again ----------------------------------------------------------------------


@pytest.mark.parametrize("full", [None, True])
def test_what_was_deleted_and_stored_anew_is_the_new_one_everywhere(
    here: World, full: bool | None
) -> None:
    a, b = here.machine("a"), here.machine("b")
    a.store.store(words_of(1), metadata={"version": 1})
    settle(a, b)
    a.store.delete(ID)
    kept = a.store.store(words_of(1), metadata={"version": 2})
    settle(a, b, full=full)
    assert held(a) == held(b) == live(here) == [(words_of(1), {"version": 2})]
    assert b.store.all() == [kept]
    assert here.machine("c").engine.sync().pulled == 1
    assert a.engine.status().state == "in sync"


def test_stored_anew_while_the_first_reply_is_lost_it_is_the_new_one(here: World) -> None:
    a, b = here.machine("a"), here.machine("b")
    a.store.store(words_of(1), metadata={"version": 1})
    here.remote.fault(what="lose-reply", where="POST /memories")
    assert a.engine.push().problems
    a.store.delete(ID)
    a.store.store(words_of(1), metadata={"version": 2})
    settle(a, b)
    assert held(a) == held(b) == live(here) == [(words_of(1), {"version": 2})]


@pytest.mark.parametrize("where", ["POST /memories", "DELETE /memories"])
@pytest.mark.parametrize("what", ["lose-reply", "cut-reply", "cut-request"])
def test_stored_anew_over_a_bad_wire_it_is_there_once(here: World, what: Any, where: str) -> None:
    a, b = here.machine("a"), here.machine("b")
    a.store.store(words_of(1), metadata={"version": 1})
    settle(a, b)
    a.store.delete(ID)
    a.store.store(words_of(1), metadata={"version": 2})
    here.remote.fault(what=what, where=where)
    assert a.engine.push().problems
    settle(b)
    settle(a, b, full=True)
    assert held(a) == held(b) == live(here) == [(words_of(1), {"version": 2})]


def test_stored_anew_and_deleted_after_all_it_is_gone_everywhere(here: World) -> None:
    a, b = here.machine("a"), here.machine("b")
    a.store.store(words_of(1))
    settle(a, b)
    a.store.delete(ID)
    a.store.store(words_of(1))
    a.store.delete(ID)
    settle(a, b)
    assert held(a) == held(b) == live(here) == []
    assert posts(here) == 1
    assert a.engine.memory_count() == {"local": 0, "remote": 0, "pending": 0, "parked": 0}


def test_stored_anew_at_another_remote_it_is_the_new_one(here: World) -> None:
    a, b = here.machine("a"), here.machine("b")
    a.store.store(words_of(1), metadata={"version": 1})
    settle(a, b)
    a.store.delete(ID)
    a.store.store(words_of(1), metadata={"version": 2})
    here.exchange()
    settle(b, a, b)
    assert held(a) == held(b) == live(here) == [(words_of(1), {"version": 2})]


def test_stored_anew_it_waits_for_the_list_of_another_remote(here: World) -> None:
    a, b = here.machine("a"), here.machine("b")
    a.store.store(words_of(1), metadata={"version": 1})
    settle(a, b)
    a.store.delete(ID)
    a.store.store(words_of(1), metadata={"version": 2})
    here.exchange()
    settle(b)
    assert a.engine.push().problems == ()
    settle(a, b)
    assert held(a) == held(b) == live(here) == [(words_of(1), {"version": 2})]


def test_told_again_without_a_deletion_a_memory_stays_as_it_is(here: World) -> None:
    a = here.machine("a")
    first = a.store.store(words_of(1), metadata={"version": 1})
    settle(a)
    a.store.store(words_of(1), metadata={"version": 2})
    settle(a)
    assert a.store.all() == [first]
    assert live(here) == [(words_of(1), {"version": 1})]
    assert posts(here) == 1


# Stored again while an answer is on its way -----------------------------------------------------


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[OddRemote]:
    with odd_remote(tmp_path / "odd") as made:
        yield made


def meanwhile(odd: OddRemote, where: str, happens: Callable[[], object]) -> None:
    """Let something happen between the making of the next answer to a request and its sending."""

    def answer_late(request: Request) -> bool | None:
        if not f"{request.method} {request.path}".startswith(where):
            return None
        odd.odd = None
        send = request.answer

        def answer(status: int, body: object = b"", **headers: str) -> bool:
            happens()
            return send(status, body, **headers)

        request.answer = answer  # type: ignore[method-assign]
        return odd.serve(request)

    odd.odd = answer_late


@pytest.mark.parametrize("full", [None, True])
@pytest.mark.parametrize("where", ["GET /changes", "GET /memories/1", "POST /memories"])
def test_what_is_stored_while_an_older_answer_is_on_its_way_is_not_taken_for_told(
    tmp_path: Path, odd: OddRemote, where: str, full: bool | None
) -> None:
    with LocalStore(tmp_path / "palace") as store:
        engine = SyncEngine(store, odd.url, key="right")
        if where == "GET /changes":
            odd.put(words_of(1))
        else:
            store.store(words_of(1))
        if where == "GET /memories/1":
            assert engine.sync().problems == ()
            store.store(words_of(1))

        def delete_there_and_store_here() -> None:
            assert odd.store.delete(1)
            store.store(words_of(1))

        meanwhile(odd, where, delete_there_and_store_here)
        for _ in range(3):
            assert engine.sync(full=full).problems == ()
        assert odd.odd is None
        assert odd.there() == [memory.content for memory in store.all()] == [words_of(1)]
        assert engine.status().state == "in sync"
        engine.stop()


def test_of_two_processes_that_tell_the_same_the_later_one_says_whether_it_is_told(
    here: World,
) -> None:
    a = here.machine("a")
    a.store.store(words_of(1))
    known = meet(a.store.connection, here.url)
    before, after = ledger.begin(known, ID), ledger.begin(known, ID)
    assert before is not None
    assert after is not None
    ledger.stored(known, before, 1)
    assert ledger.pending(a.store.connection) == 1
    ledger.stored(known, after, 1)
    assert ledger.pending(a.store.connection) == 0
    assert a.store.connection.read("SELECT name FROM sync WHERE name LIKE 'asked%'") == []


# At the remote twice ----------------------------------------------------------------------------


@pytest.mark.parametrize("copies", [2, 3])
def test_deleting_what_the_remote_has_twice_deletes_each_copy(here: World, copies: int) -> None:
    a, b = here.machine("a"), here.machine("b")
    for _ in range(copies):
        here.remote.put(first=1)
    here.remote.put(first=2)
    settle(a, b)
    a.store.delete(ID)
    settle(a, b)
    settle(a, b, full=True)
    assert here.there() == [2]
    assert a.words() == b.words() == [words_of(2)]


def test_of_two_copies_one_may_go_and_the_memory_stays(here: World) -> None:
    a = here.machine("a")
    for _ in range(2):
        here.remote.put(first=1)
    settle(a)
    assert here.remote._own().delete(1)
    settle(a)
    assert a.words() == [words_of(1)]
    a.store.delete(ID)
    settle(a)
    assert here.there() == []


def test_a_copy_that_cannot_be_deleted_keeps_the_deletion_pending(here: World) -> None:
    a = here.machine("a")
    for _ in range(2):
        here.remote.put(first=1)
    settle(a)
    a.store.delete(ID)
    here.remote.fault(what="cut-request", where="DELETE /memories/2")
    assert a.engine.push().problems
    assert here.there() == [1]
    settle(a, full=True)
    assert here.there() == []
    assert a.words() == []


# Refused, and deleted ---------------------------------------------------------------------------


def test_what_was_refused_and_is_deleted_is_sent_no_more(here: World) -> None:
    a = here.machine("a")
    here.remote.answer(first=1, status=422)
    a.store.store(words_of(1))
    for _ in range(ATTEMPTS_MAX + 1):
        a.engine.sync()
    assert len(a.engine.parked()) == 1
    a.store.delete(ID)
    assert a.engine.sync().problems == ()
    assert a.engine.memory_count() == {"local": 0, "remote": 0, "pending": 0, "parked": 0}
    assert a.engine.status().state == "in sync"


def test_what_was_refused_as_new_words_and_is_deleted_is_sent_no_more(here: World) -> None:
    """The remote had deleted these words before, so it is asked twice in one round."""
    a = here.machine("a")
    deleted_before(here, 1)
    a.store.store(words_of(1))
    client = a.engine._remote._client
    send, answers = client.request, [200, 422]

    def refusing(method: str, path: str, **rest: object) -> object:
        if method == "POST" and answers.pop(0) == 422:
            here.remote.answer(first=1, status=422)
        return send(method, path, **rest)  # type: ignore[arg-type]

    client.request = refusing  # type: ignore[method-assign,assignment]
    assert "422" in a.engine.push().problems[0]
    client.request = send  # type: ignore[method-assign]
    a.store.delete(ID)
    settle(a, full=True)
    assert a.engine.memory_count() == {"local": 0, "remote": 0, "pending": 0, "parked": 0}
    assert posts(here) == 1


def test_what_was_sent_with_a_wrong_key_and_is_deleted_is_sent_no_more(here: World) -> None:
    a = here.machine("a")
    settle(a)
    here.remote.take_key(key="new")
    a.store.store(words_of(1))
    assert a.engine.push().denied
    a.store.delete(ID)
    here.remote.take_key(key="right")
    settle(a)
    assert posts(here) == 0
    assert a.engine.memory_count()["pending"] == 0


def test_a_deletion_has_attempts_of_its_own(here: World) -> None:
    """A failure, other than a refusal, leaves open whether the memory is there."""
    a = here.machine("a")
    here.remote.answer(first=1, status=500)
    a.store.store(words_of(1))
    for _ in range(ATTEMPTS_MAX):
        a.engine.sync()
    assert [parked.attempts for parked in a.engine.parked()] == [ATTEMPTS_MAX]
    a.store.delete(ID)
    for _ in range(ATTEMPTS_MAX - 1):
        assert a.engine.sync().problems
    assert a.engine.parked() == ()
    here.remote.heal()
    settle(a)
    assert here.there() == []
    assert a.engine.memory_count()["pending"] == 0


def test_a_refusal_after_a_lost_reply_leaves_open_whether_it_is_there(here: World) -> None:
    a, b = here.machine("a"), here.machine("b")
    a.store.store(words_of(1))
    here.remote.fault(what="lose-reply", where="POST /memories")
    assert a.engine.push().problems
    here.remote.answer(first=1, status=422)
    assert a.engine.push().problems
    a.store.delete(ID)
    here.remote.heal()
    settle(a, b)
    assert here.there() == []
    assert b.words() == []


# Deleted ever so often --------------------------------------------------------------------------


def deleted_before(here: World, times: int) -> None:
    """Let the remote know these words as stored and deleted so often."""
    memory = {
        "namespace": DEFAULT_NAMESPACE,
        "content": words_of(1),
        "metadata": {},
        "created": "2025-01-01T00:00:00+00:00",
    }
    for n in range(times):
        key = hashlib.sha256(f"{ID}.{n}".encode()).hexdigest()
        here.remote._own().delete(here.remote._own().store(memory, key)[0])


@pytest.mark.parametrize("times", [60, pytest.param(450, marks=pytest.mark.nightly)])
def test_words_that_were_deleted_ever_so_often_can_be_stored(here: World, times: int) -> None:
    a, b = here.machine("a"), here.machine("b")
    deleted_before(here, times)
    a.store.store(words_of(1))
    b.store.store(words_of(1))
    for machine in (a, b) * ATTEMPTS_MAX:
        machine.engine.push()
    settle(a, b)
    assert here.there() == [1]
    assert a.engine.parked() == b.engine.parked() == ()


def test_words_that_are_toggled_are_not_asked_for_from_the_first_time_on(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = here.machine("a")
    deleted_before(here, 60)
    a.store.store(words_of(1))
    settle(a)
    asked: list[str] = []
    client = a.engine._remote._client
    send = client.request

    def spy(method: str, path: str, **rest: object) -> object:
        asked.append(f"{method} {path}")
        return send(method, path, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(client, "request", spy)
    for _ in range(5):
        a.store.delete(ID)
        settle(a)
        a.store.store(words_of(1))
        settle(a)
    assert asked.count("POST /memories") == 5
    assert here.there() == [1]


def test_a_number_that_a_peer_learned_since_a_list_was_asked_for_is_no_orphan(
    tmp_path: Path,
) -> None:
    with LocalStore(tmp_path) as store:
        kept = store.store("the kettle is red")
        store.write(lambda db: db.execute("UPDATE memories SET remote_id = 7, pending = NULL"))
        known = meet(store.connection, "http:" + "//127.0.0.1:1")
        assert intake.adopt(known, {}, held={}) == 0
        assert intake.adopt(known, {}, held={kept.id: 7}) == 1
