"""What answers in the remote's place, or as no remote should: nothing is lost, nobody ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from odd_remote import OddRemote, Request, odd_remote

from palace_store.errors import PalaceInputError
from palace_store.local import LocalStore
from palace_store.sync import SyncEngine, bounded_wire
from palace_store.sync.push import ATTEMPTS_MAX

pytestmark = pytest.mark.s4

WAIT_S = 30.0
HTTP = "http:" + "//"
FINE = '{"id": 1, "namespace": "a", "content": "x1", "metadata": {}, "created": "2025-01-01"}'
LAST = '{"id": 3, "namespace": "a", "content": "x3", "metadata": {}, "created": "2025-01-01"}'


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
    made = SyncEngine(store, there.url, key="right")
    yield made
    assert made.stop()


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until the engine's thread has brought something about."""
    by_s = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < by_s
        time.sleep(0.02)


def words(store: LocalStore) -> list[str]:
    return sorted(memory.content for memory in store.all())


# A round never ends in an exception --------------------------------------------------------------


def row(**parts: str) -> str:
    told = {
        "id": "2",
        "namespace": '"a"',
        "content": '"x2"',
        "metadata": "{}",
        "created": '"2025-01-01"',
        **parts,
    }
    return "{" + ", ".join(f'"{name}": {value}' for name, value in told.items()) + "}"


@pytest.mark.parametrize(
    "bad",
    [
        row(id=str(2**63)),
        row(id="0"),
        f'{{"id": {2**63}, "deleted": true}}',
        *(
            row(created=created)
            for created in (
                *(
                    '"\\ud83d"',
                    '"yesterday"',
                    '""',
                    '"9999"',
                    '"2025-02-30"',
                    '"2025-01-01\\u0000"',
                ),
                *('"0001-01-01T00:00+09:00"', '"2025-01-01T24:00"', '"' + "2" * 100_000 + '"'),
            )
        ),
        row(metadata='{"e": "\\ud83d"}'),
        row(metadata='{"e": NaN}'),
        row(metadata='{"e": 1e999}'),
        row(metadata='{"e": "' + "x" * 70_000 + '"}'),
        row(metadata='{"e": ' + "[" * 300 + "]" * 300 + "}"),
        row(metadata='{"e": ' + "9" * 5000 + "}"),
        row(metadata='{"e": "\\"[", "f": ' + "[" * 100_000 + "]" * 100_000 + "}"),
        row(metadata="{" + '"e": {' * 50_000 + "}" * 50_000 + "}"),
        "[" * 100_000 + "]" * 100_000,
        row(id="9" * 5000),
        '"text"',
    ],
    ids=lambda bad: bad[:60] if isinstance(bad, str) else None,
)
def test_a_row_that_cannot_be_kept_keeps_back_no_other(
    there: OddRemote, store: LocalStore, engine: SyncEngine, bad: str
) -> None:
    there.odd = there.page(FINE, bad, LAST)
    done = engine.sync()
    assert words(store) == ["x1", "x3"]
    (problem,) = done.problems
    assert "malformed" in problem
    there.odd = lambda request: (
        request.path == "/recall" and request.answer(200, f'{{"rows": [{bad}]}}'.encode())
    )
    answer = engine.recall("x")
    assert answer.complete
    assert {memory.content for memory in answer.memories} == {"x1", "x3"}


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("2025-01-31T12:00:00+00:00", "2025-01-31T12:00:00+00:00"),
        ("2025-01-31T12:00:00.5Z", "2025-01-31T12:00:00.500000+00:00"),
        ("2025-01-31T12:00+09:30", "2025-01-31T02:30:00+00:00"),
        ("2025-01-31 23:00:00-0200", "2025-02-01T01:00:00+00:00"),
        ("2025-01-31", "2025-01-31T00:00:00+00:00"),
    ],
)
def test_a_date_is_kept_as_one_of_ours_whatever_its_zone(
    there: OddRemote, store: LocalStore, engine: SyncEngine, told: str, kept: str
) -> None:
    there.put("x", told)
    assert engine.sync().problems == ()
    assert [memory.created for memory in store.all()] == [kept]


@pytest.mark.parametrize("number", [str(2**63), "1e3", "true", "null", '"7"', "-1", "[]"])
def test_a_memory_that_is_stored_under_no_number_is_told_again(
    there: OddRemote, store: LocalStore, engine: SyncEngine, number: str
) -> None:
    store.store("kept")
    there.odd = lambda request: (
        request.method == "POST" and request.answer(201, f'{{"id": {number}}}'.encode())
    )
    assert "gave no number" in engine.sync().problems[0]
    there.odd = None
    assert engine.sync().problems == ()
    assert there.there() == ["kept"]


@pytest.mark.parametrize("body", [b"[" * 200_000, b"\xff\xfe{", b"9" * 5000, b'"text"', b"[]"])
def test_an_answer_that_is_no_object_is_a_problem_of_that_round(
    there: OddRemote, store: LocalStore, engine: SyncEngine, body: bytes
) -> None:
    store.store("kept")
    there.odd = lambda request: request.answer(200, body)
    assert engine.sync(full=True).problems
    answer = engine.recall("kept")
    assert ([memory.content for memory in answer.memories], answer.complete) == (["kept"], False)
    assert engine.memory_count()["remote"] is None
    there.odd = None
    assert engine.sync().problems == ()
    assert there.there() == ["kept"]


@pytest.mark.parametrize("charset", ["hex", "rot13", "idna", "undefined", "utf-7"])
def test_an_error_page_in_any_coding_is_told(
    there: OddRemote, store: LocalStore, engine: SyncEngine, charset: str
) -> None:
    store.store("kept")
    there.odd = lambda request: request.answer(
        500, b"<html>\xe9 oops</html>", Content_Type=f"text/html; charset={charset}"
    )
    assert "answered 500" in engine.sync().problems[0]
    there.odd = None
    assert engine.sync().problems == ()
    assert there.there() == ["kept"]


# The thread goes on ------------------------------------------------------------------------------


@pytest.mark.parametrize("told", ["-5", "true", "2.0", '"3"', "null"])
def test_a_count_that_can_be_none_is_not_told(
    there: OddRemote, engine: SyncEngine, told: str
) -> None:
    there.odd = lambda request: request.answer(200, f'{{"count": {told}}}'.encode())
    assert engine.memory_count()["remote"] is None


@pytest.mark.parametrize("wrong", [b"right\xff", "right".encode("utf-16"), b"\xff\xfe"])
def test_a_key_file_in_another_coding_is_a_wrong_key_until_it_is_corrected(
    there: OddRemote, store: LocalStore, tmp_path: Path, wrong: bytes
) -> None:
    path = tmp_path / "key"
    path.write_bytes(wrong)
    engine = SyncEngine(
        store, there.url, key=lambda: path.read_text("utf-8").strip(), interval_s=0.02
    )
    store.store("kept")
    engine.start()
    try:
        wait_until(lambda: engine.status().state == "local only")
        assert "cannot be read" in engine.status().reason
        assert "cannot be read" in engine.recall("kept").note
        assert engine.memory_count()["remote"] is None
        path.write_text("right")
        wait_until(lambda: there.there() == ["kept"])
    finally:
        assert engine.stop()


def test_what_nobody_foresaw_ends_a_round_and_not_the_thread(
    there: OddRemote, store: LocalStore, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[int] = []

    def may_sync() -> bool:
        asked.append(1)
        if len(asked) == 1:
            raise ZeroDivisionError("of whoever is asked")
        return len(asked) > 5

    engine = SyncEngine(store, there.url, key="right", interval_s=0.02, may_sync=may_sync)
    store.store("kept")
    engine.start()
    try:
        wait_until(lambda: len(asked) > 1)
        assert "ZeroDivisionError" in engine.status().reason
        wait_until(lambda: there.there() == ["kept"])
    finally:
        assert engine.stop()
    assert "of whoever is asked" in caplog.text


def test_a_key_that_cannot_be_found_out_is_one_that_cannot_be_read(
    there: OddRemote, store: LocalStore
) -> None:
    engine = SyncEngine(store, there.url, key=lambda: str(1 // 0))
    done = engine.sync()
    assert done.denied
    assert "cannot be read (ZeroDivisionError" in done.problems[0]
    engine.stop()


def test_a_remote_without_keys_is_sent_none(there: OddRemote, store: LocalStore) -> None:
    sent: list[str | None] = []
    there.odd = lambda request: sent.append(request.handler.headers.get("Authorization"))
    engine = SyncEngine(store, there.url, key="")
    store.store("kept")
    assert engine.sync().problems == ()
    assert engine.recall("kept").complete
    assert set(sent) == {None}
    assert there.there() == ["kept"]
    engine.stop()


def test_a_remote_that_repeats_the_key_tells_it_to_nobody(
    there: OddRemote, store: LocalStore
) -> None:
    there.odd = lambda request: request.answer(
        401, f"no such user: {request.handler.headers['Authorization']}".encode()
    )
    engine = SyncEngine(store, there.url, key="topsecret")
    (problem,) = engine.sync().problems
    assert "401: no such user: Bearer ..." in problem
    assert "topsecret" not in engine.status().reason + engine.recall("kept").note
    engine.stop()


def test_a_time_longer_than_any_clock_can_wait_is_a_long_time(
    there: OddRemote, store: LocalStore
) -> None:
    engine = SyncEngine(
        store, there.url, key="right", interval_s=1e12, recall_timeout_s=1e12, seed=1
    )
    store.store("kept")
    engine.start()
    wait_until(lambda: there.there() == ["kept"])
    assert engine.recall("kept").complete
    thread = engine._thread
    assert thread is not None
    assert thread.is_alive()
    assert engine.stop()


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan")])
@pytest.mark.parametrize("name", ["interval_s", "recall_timeout_s"])
def test_a_time_that_is_none_is_refused(store: LocalStore, name: str, wrong: float) -> None:
    with pytest.raises(PalaceInputError, match=name):
        SyncEngine(store, "http://localhost:9", key="right", **{name: wrong})


def test_an_engine_that_was_stopped_says_so(
    there: OddRemote, store: LocalStore, caplog: pytest.LogCaptureFixture
) -> None:
    engine = SyncEngine(store, there.url, key="right")
    engine.stop()
    assert "stopped" in engine.sync().problems[0]
    assert "stopped" in engine.recall("a").note
    with pytest.raises(PalaceInputError, match="was stopped: make a new"):
        engine.start()
    assert "Traceback" not in caplog.text


# Somebody else in the remote's place --------------------------------------------------------------


def portal(status: int, body: bytes, **headers: str) -> Callable[[Request], bool]:
    return lambda request: request.answer(status, body, **headers)


PORTALS = {
    "redirect": portal(302, b"", Location="http://portal.invalid/"),
    "odd-redirect": portal(302, b"", Location=f"{HTTP}[::bad/"),
    "page": portal(200, b"<html>log in</html>", Content_Type="text/html"),
    "page-of-nothing": portal(404, b"<html>no such page</html>", Content_Type="text/html"),
    "unchanged": portal(304, b""),
    "log-in": portal(511, b"<html>log in</html>"),
}


@pytest.mark.parametrize("name", PORTALS)
def test_whoever_answers_in_the_remotes_place_deletes_nothing_and_counts_for_nothing(
    there: OddRemote, store: LocalStore, engine: SyncEngine, name: str
) -> None:
    gone = store.store("secret")
    store.store("kept")
    assert engine.sync().problems == ()
    store.delete(gone.id)
    store.store("new")
    there.odd = PORTALS[name]
    for _ in range(ATTEMPTS_MAX + 2):
        done = engine.sync()
        assert done.problems
        assert done.pushed == 0
    assert engine.parked() == ()
    assert engine.memory_count()["pending"] == 2
    there.odd = None
    assert engine.sync(full=True).problems == ()
    assert (words(store), there.there()) == (["kept", "new"], ["kept", "new"])


@pytest.mark.parametrize("status", [200, 202, 204])
def test_a_deletion_may_be_told_with_json_or_with_nothing(
    there: OddRemote, store: LocalStore, engine: SyncEngine, status: int
) -> None:
    gone = store.store("secret")
    engine.sync()
    store.delete(gone.id)

    def odd(request: Request) -> bool | None:
        if request.method != "DELETE":
            return None
        there.store.delete(1)
        return request.answer(status, b"" if status == 204 else b'{"deleted": true}')

    there.odd = odd
    assert engine.sync().problems == ()
    assert engine.memory_count()["pending"] == 0
    assert engine.status().state == "in sync"


# Bounds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_remote_that_only_drips_is_not_waited_for(
    there: OddRemote, store: LocalStore, part: str
) -> None:
    """The time-out is for a whole answer: 0.3 s here, with a byte each 0.1 s."""
    enough, dripping, ended = threading.Event(), threading.Event(), threading.Event()

    def odd(request: Request) -> bool | None:
        if request.path != "/changes":
            return None
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n"
        request.raw(head + (b"\r\n" if part == "body" else b"X-Long: "))
        dripping.set()
        try:
            while not enough.wait(0.1):
                request.raw(b" " if part == "body" else b"x")
        finally:
            ended.set()
        return True

    there.odd = odd
    engine = SyncEngine(store, there.url, key="right", time_scale=0.01)
    rounds: list[tuple[str, ...]] = []
    pulling = threading.Thread(target=lambda: rounds.append(engine.pull(full=True).problems))
    pulling.start()
    try:
        assert dripping.wait(WAIT_S)
        pulling.join(WAIT_S)
        assert not pulling.is_alive()
        assert "no whole answer" in rounds[0][0]
    finally:
        enough.set()
        pulling.join(WAIT_S)
        assert ended.wait(WAIT_S)
        engine.stop()


def test_an_answer_that_keeps_coming_may_take_longer_than_one_time_out(
    there: OddRemote, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each so many bytes have the whole time again, so that a slow line gets through."""
    monkeypatch.setattr(bounded_wire, "SLICE_BYTES", 1000)
    pause = threading.Event()

    def odd(request: Request) -> bool | None:
        if request.path != "/changes":
            return None
        body = b'{"rows": [], "next": 0, "more": false}' + b" " * 12_000
        request.raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        for begin in range(0, len(body), 2000):
            pause.wait(0.4)
            request.raw(body[begin : begin + 2000])
        return True

    there.odd = odd
    engine = SyncEngine(store, there.url, key="right", time_scale=0.05)  # 1.5 s
    assert engine.pull(full=True).problems == ()
    engine.stop()


def test_an_answer_without_an_end_is_cut_off(
    there: OddRemote, store: LocalStore, engine: SyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_wire, "ANSWER_BYTES_MAX", 100_000)

    def odd(request: Request) -> bool | None:
        if request.path not in ("/changes", "/recall"):
            return None
        request.raw(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:  # until whoever asked has gone
            request.raw(b" " * 10_000)

    there.odd = odd
    store.store("kept")
    assert "longer than 100000 bytes" in engine.sync().problems[0]
    answer = engine.recall("kept")
    assert ([memory.content for memory in answer.memories], answer.complete) == (["kept"], False)
    assert there.there() == ["kept"]


def test_a_page_that_is_too_long_is_asked_for_in_parts(
    there: OddRemote, store: LocalStore, engine: SyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_wire, "ANSWER_BYTES_MAX", 100_000)
    for number in range(5):
        there.put(f"{number} " + "x" * 60_000)
    assert engine.sync().problems == ()
    assert store.count() == 5


@pytest.mark.parametrize("following", ["0", "-1", "1e3", "true", str(2**63), "1" + "0" * 400])
def test_a_list_that_leads_nowhere_is_a_failure_and_makes_no_orphans(
    there: OddRemote, store: LocalStore, engine: SyncEngine, following: str
) -> None:
    store.store("kept")
    engine.sync()
    body = f'{{"rows": [], "next": {following}, "more": true}}'.encode()
    there.odd = lambda request: request.path == "/changes" and request.answer(200, body)
    there.asked.clear()
    (problem,) = engine.sync(full=True).problems
    assert "/changes" in problem
    assert there.asked.count("GET /changes") == 1
    assert engine.memory_count()["pending"] == 0


def test_while_a_row_cannot_be_read_nothing_is_said_to_be_in_sync(
    there: OddRemote, store: LocalStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = SyncEngine(store, there.url, key="right")
    for n in range(3):
        store.store(f"kept {n}")
    assert engine.sync().problems == ()
    with odd_remote(tmp_path / "other") as other:
        now = SyncEngine(store, other.url, key="right")
        other.odd = other.page(row(id="7", content="5"))
        (problem,) = now.sync().problems
        other.odd = None
        assert now.standing() == ("behind", problem)
        assert now.sync(full=False).problems == ()
        assert now.standing() == ("behind", problem)
        assert (now.status().state, now.status().reason) == ("behind", problem)
        assert now.sync(full=True).problems == ()
        assert now.standing() == ("in sync", "")
        assert caplog.messages == [
            f"sync with {other.url}: {problem}",
            f"sync with {other.url}: nothing is wrong any more",
        ]
        now.stop()
    engine.stop()


def test_a_malformed_row_of_another_remote_keeps_back_only_its_own_words(
    store: LocalStore, engine: SyncEngine, tmp_path: Path
) -> None:
    for n in range(3):
        store.store(f"kept {n}")
    assert engine.sync().problems == ()
    with odd_remote(tmp_path / "other") as other:
        other.put("kept 1")
        now = SyncEngine(store, other.url, key="right")
        its_own = row(id="1", namespace='"default"', content='"kept 1"', metadata="5")
        other.odd = other.page(row(id="7", content="5"), its_own)
        assert len(now.sync().problems) == 2
        assert other.there() == ["kept 0", "kept 1", "kept 2"]
        assert now.standing()[0] == "behind"
        for _ in range(2):  # what was told is not told again for a row that cannot be read
            assert now.sync(full=True).pushed == 0
        other.odd = None
        assert now.sync(full=True).problems == ()
        assert other.there() == ["kept 0", "kept 1", "kept 2"]
        assert now.standing() == ("in sync", "")
        now.stop()


def test_what_goes_wrong_is_logged_when_it_changes(
    there: OddRemote, store: LocalStore, engine: SyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(2):
        store.store(f"kept {n}")
    for status in (422, 422, 500):
        there.odd = lambda request, status=status: (  # type: ignore[misc]
            request.method == "POST" and request.answer(status, b"no")
        )
        assert len(engine.sync().problems) == 2
    there.odd = None
    for _ in range(2):
        assert engine.sync().problems == ()
    assert caplog.messages == [
        f"sync with {there.url}: {there.url} answered 422: no (and 1 more)",
        f"sync with {there.url}: {there.url} answered 500: no (and 1 more)",
        f"sync with {there.url}: nothing is wrong any more",
    ]


# A list that is a log -----------------------------------------------------------------------------


def live(number: int, content: str) -> str:
    return row(id=str(number), content=f'"{content}"')


def gone(number: int) -> str:
    return f'{{"id": {number}, "deleted": true}}'


def paged(*rows: str) -> Callable[[Request], bool | None]:
    """Return an oddness: everything that ever changed, a row on each page."""

    def odd(request: Request) -> bool | None:
        if request.path != "/changes":
            return None
        after = int(request.query["after"])
        page, more = ", ".join(rows[after : after + 1]), after + 1 < len(rows)
        following = min(after + 1, len(rows))
        body = f'{{"rows": [{page}], "next": {following}, "more": {str(more).lower()}}}'
        return request.answer(200, body.encode())

    return odd


@pytest.mark.parametrize("in_pages", [False, True])
def test_what_a_log_has_live_at_its_end_is_there(
    there: OddRemote, store: LocalStore, engine: SyncEngine, in_pages: bool
) -> None:
    log = (live(1, "alpha"), live(2, "beta"), gone(1), live(1, "alpha"), live(3, "c"), gone(3))
    there.odd = paged(*log) if in_pages else there.page(*log)
    for _ in range(3):
        assert engine.sync(full=True).problems == ()
        assert words(store) == ["alpha", "beta"]
    there.odd = paged(*log, gone(1)) if in_pages else there.page(*log, gone(1))
    assert engine.sync(full=True).problems == ()
    assert words(store) == ["beta"]


@pytest.mark.parametrize("in_pages", [False, True])
def test_what_is_stored_again_is_not_deleted_for_what_a_log_says_of_its_former_number(
    there: OddRemote, store: LocalStore, engine: SyncEngine, in_pages: bool
) -> None:
    kept = store.store("again")
    assert engine.sync().problems == ()
    assert store.delete(kept.id)
    assert engine.sync().problems == ()
    store.store("again")
    log = (row(namespace='"default"', id="1", content='"again"'), gone(1))
    there.odd = paged(*log) if in_pages else there.page(*log)
    assert engine.sync(full=True).problems == ()
    there.odd = None
    assert engine.sync(full=True).problems == ()
    assert words(store) == there.there() == ["again"]


@pytest.mark.parametrize("in_pages", [False, True])
def test_the_log_of_another_remote_takes_nothing_away(
    store: LocalStore, engine: SyncEngine, tmp_path: Path, in_pages: bool
) -> None:
    store.store("kept")
    assert engine.sync().problems == ()
    with odd_remote(tmp_path / "other") as other:
        log = (row(namespace='"default"', id="1", content='"kept"'), gone(1))
        other.odd = paged(*log) if in_pages else other.page(*log)
        at_other = SyncEngine(store, other.url, key="right")
        assert at_other.sync().problems == ()
        assert words(store) == other.there() == ["kept"]
        at_other.stop()


@pytest.mark.parametrize("in_pages", [False, True])
def test_words_that_are_twice_in_the_log_of_another_remote_are_deleted_twice(
    store: LocalStore, engine: SyncEngine, tmp_path: Path, in_pages: bool
) -> None:
    kept = store.store("kept")
    assert engine.sync().problems == ()
    with odd_remote(tmp_path / "other") as other:
        at_other = SyncEngine(store, other.url, key="right")
        for _ in range(3):
            other.put("kept")
        log = [row(namespace='"default"', id=str(n), content='"kept"') for n in (1, 2, 3)]
        other.store.delete(2)
        other.odd = paged(*log, gone(2)) if in_pages else other.page(*log, gone(2))
        assert at_other.sync().problems == ()
        other.odd = None
        assert store.delete(kept.id)
        other.asked.clear()
        assert at_other.push().problems == ()
        assert other.asked == ["DELETE /memories/1", "DELETE /memories/3"]
        assert (words(store), other.there()) == ([], [])
        at_other.stop()


# Addresses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        *("a..b", f"{'a' * 70}.example", "[fe80::"),
        *("localhost:99999", "localhost:0", "localhost:abc"),
    ],
)
def test_an_address_no_request_can_go_to_is_refused(store: LocalStore, host: str) -> None:
    with pytest.raises(PalaceInputError, match="is no address"):
        SyncEngine(store, f"{HTTP}{host}", key="right")


@pytest.mark.parametrize("more", ["?tenant=topsecret", "/a?", "/#b", "/a#"])
def test_an_address_nothing_can_be_put_behind_is_refused(store: LocalStore, more: str) -> None:
    with pytest.raises(PalaceInputError, match="localhost has a query or a fragment") as refused:
        SyncEngine(store, f"{HTTP}localhost{more}", key="right")
    assert "topsecret" not in str(refused.value)


@pytest.mark.parametrize("host", ["no-such-host.invalid:80", "[fe80::1%25nowhere]:9"])
def test_a_host_that_is_not_there_is_not_blamed_on_the_key(store: LocalStore, host: str) -> None:
    engine = SyncEngine(store, f"{HTTP}{host}", key="right")
    done = engine.sync()
    assert (done.away, done.denied) == (True, False)
    assert "cannot be reached" in done.problems[0]
    engine.stop()


@pytest.mark.parametrize("again", ["delete", "retry"])
def test_a_parked_deletion_is_tried_again_when_it_is_asked_for(
    there: OddRemote, store: LocalStore, engine: SyncEngine, again: str
) -> None:
    gone = store.store("private")
    engine.sync()
    store.delete(gone.id)
    assert not store.delete(gone.id)  # it is under way
    there.odd = lambda request: request.method == "DELETE" and request.answer(500, b"a bug")
    for _ in range(ATTEMPTS_MAX):
        engine.sync()
    assert [parked.operation for parked in engine.parked()] == ["delete"]
    there.odd = None
    assert engine.sync().pushed == 0
    assert store.delete(gone.id) if again == "delete" else engine.retry_parked() == 1
    assert engine.parked() == ()
    assert engine.sync().pushed == 1
    assert (there.there(), engine.status().state) == ([], "in sync")
