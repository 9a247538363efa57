"""The server's memories through the SDK's own client, with a remote behind a harmful wire."""

from __future__ import annotations

import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from mcp import Client

sys.path.append(str(Path(__file__).parent / "entries"))
from odd_remote import OddRemote, odd_remote
from remote_bench import World, world
from server_bench import Server, Site, ok, play, refused

from palace_lab.targets.memory_files import words_of

pytestmark = [pytest.mark.slow, pytest.mark.s4]

RELEASE = "1.5.9"
RECALL_S = 1.0
INTERVAL_S = 0.2
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def there(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "world") as made:
        yield made


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text("right\n")
    return path


def served(site: Site, there: World, key: Path, *words: str) -> Server:
    remote = (
        "--remote",
        there.url,
        "--remote-key-file",
        str(key),
        "--recall-timeout",
        str(RECALL_S),
    )
    return Server(
        RELEASE, site, key.with_name("palace"), *remote, "--sync-interval", str(INTERVAL_S), *words
    )


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until the engine's thread has brought something about."""
    by_s = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < by_s
        time.sleep(0.05)


async def until(holds: Callable[[], bool]) -> None:
    await anyio.to_thread.run_sync(wait_until, holds)


async def recall(client: Client, query: str) -> tuple[dict[str, Any], int]:
    """Ask with a progress token; return the answer and how often progress was told."""
    told: list[str | None] = []

    async def progress(_: float, __: float | None, message: str | None) -> None:
        told.append(message)

    answer = await client.call_tool("memory_recall", {"query": query}, progress_callback=progress)
    assert not answer.is_error, answer
    assert answer.structured_content is not None
    await client.call_tool("memory_count", {})  # whatever else was sent has come by now
    return answer.structured_content, len(told)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_recall_tells_its_progress_exactly_once_whatever_the_remote_does(
    site: Site, there: World, key: Path, mode: str
) -> None:
    async def story(client: Client) -> None:
        await ok(client, "memory_store", content="the kettle is red")
        answer, told = await recall(client, "kettle")
        assert ([each["content"] for each in answer["memories"]], told) == (
            ["the kettle is red"],
            1,
        )
        assert answer["complete"]
        there.remote.fault(what="hold", where="GET /recall", times=9, hold_s=10_000.0)
        answer, told = await recall(client, "red kettle")
        assert (answer["complete"], told) == (False, 1)
        assert "still working, retry" in answer["note"]
        assert [each["content"] for each in answer["memories"]] == ["the kettle is red"]
        there.remote.heal()
        there.remote.refuse_connections()
        answer, told = await recall(client, "a kettle")
        assert (answer["complete"], told) == (False, 1)
        assert [each["content"] for each in answer["memories"]] == ["the kettle is red"]
        there.remote.listen()

    play(served(site, there, key), story, mode)


def test_without_a_remote_progress_is_told_once_and_without_a_token_never(
    site: Site, tmp_path: Path
) -> None:
    async def story(client: Client) -> None:
        answer, told = await recall(client, "nothing")
        assert (answer["memories"], answer["complete"], told) == ([], True, 1)
        assert (await ok(client, "memory_recall", query="nothing"))["memories"] == []

    play(Server(RELEASE, site, tmp_path / "palace"), story)


def test_no_other_tool_waits_for_a_remote_that_does_not_answer(
    site: Site, there: World, key: Path
) -> None:
    async def story(client: Client) -> None:
        there.remote.fault(what="hold", where="/", times=99, hold_s=100_000.0)
        await ok(client, "memory_store", content="kept at once")
        await anyio.to_thread.run_sync(there.remote.await_held)
        for number in range(20):
            await ok(client, "memory_store", content=f"kept at once {number}")
        kept = await ok(client, "memory_store", content="gone at once")
        assert await ok(client, "memory_delete", id=kept["id"]) == {"deleted": True}
        await ok(client, "add_drawer", content="a drawer")
        told = await ok(client, "status")
        assert told["memories"] == 21
        assert told["sync"]["state"] in ("not begun", "behind")  # is the first round through?
        there.remote.expect_holding()
        there.remote.heal()

    play(served(site, there, key), story)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("memory_recall", {"query": "kettle"}),
        pytest.param("memory_count", {}, marks=pytest.mark.nightly),
    ],
)
def test_however_many_wait_for_the_remote_no_other_call_waits_for_them(
    site: Site, there: World, key: Path, tool: str, arguments: dict[str, Any]
) -> None:
    timeout_s, waiting = 12.0, 60
    took_s: list[float] = []

    async def story(client: Client) -> None:
        async def wait() -> None:
            began_s = time.monotonic()
            await ok(client, tool, **arguments)
            took_s.append(time.monotonic() - began_s)

        await ok(client, "memory_store", content="the kettle is red")
        there.remote.fault(what="hold", where="/", times=999, hold_s=100_000.0)
        async with anyio.create_task_group() as tasks:
            for _ in range(waiting):
                tasks.start_soon(wait)
            await anyio.to_thread.run_sync(there.remote.await_held)
            kept = await ok(client, "memory_store", content="kept at once")
            assert await ok(client, "memory_delete", id=kept["id"]) == {"deleted": True}
            await ok(client, "add_drawer", content="a drawer")
            await ok(client, "kg_add", subject="Ada", predicate="keeps", object="bees")
            assert (await ok(client, "status"))["memories"] == 1
            assert took_s == []
        assert len(took_s) == waiting
        assert max(took_s) < 2 * timeout_s  # none has waited for another one to be through
        there.remote.heal()

    play(served(site, there, key, "--recall-timeout", str(timeout_s)), story)


def test_a_server_whose_library_was_replaced_syncs_no_more(
    tmp_path: Path, there: World, key: Path
) -> None:
    site, kept = Site(tmp_path / "own-site"), tmp_path / "kept"
    shutil.copytree(site.directory, kept)

    async def counted(client: Client, least: int) -> int:
        by_s = time.monotonic() + DEADLINE_S
        while True:
            found = int((await ok(client, "status"))["memories"])
            if found >= least or time.monotonic() > by_s:
                return found
            await anyio.sleep(0.05)

    async def story(client: Client) -> None:
        there.remote.put(first=1, count=3)
        assert await counted(client, 3) == 3
        site.upgrade()
        await refused(client, "memory_store", content="x")
        there.remote.put(first=4)
        await anyio.sleep(10 * INTERVAL_S)  # the fault is that a round comes in this time
        assert await counted(client, 0) == 3
        shutil.rmtree(site.directory)
        shutil.copytree(kept, site.directory)
        assert await counted(client, 4) == 4

    play(served(site, there, key), story)


def test_what_is_stored_by_a_tool_reaches_the_remote_and_back(
    site: Site, there: World, key: Path
) -> None:
    there.remote.put(first=1, count=3)

    async def story(client: Client) -> None:
        for n in (4, 5):
            await ok(client, "memory_store", content=words_of(n))
        await until(lambda: sorted(there.there()) == [1, 2, 3, 4, 5])
        began = time.monotonic()
        counted: dict[str, Any] = {}
        while counted != {"local": 5, "remote": 5, "pending": 0, "parked": 0}:
            assert time.monotonic() < began + DEADLINE_S, counted
            counted = await ok(client, "memory_count")

    play(served(site, there, key), story)


def test_a_key_that_is_corrected_is_used_without_a_restart(
    site: Site, there: World, key: Path
) -> None:
    key.write_text("wrong")

    async def story(client: Client) -> None:
        kept = await ok(client, "memory_store", content=words_of(7))
        assert (await ok(client, "memory_count"))["remote"] is None
        told = await ok(client, "memory_recall", query=words_of(7))
        assert ([each["id"] for each in told["memories"]], told["complete"]) == (
            [kept["id"]],
            False,
        )
        assert "key" in told["note"]
        assert there.there() == []
        sync = (await ok(client, "status"))["sync"]
        assert sync["state"] == "local only"
        assert "answered 401" in sync["reason"]
        await anyio.to_thread.run_sync(key.write_text, "right")
        await until(lambda: there.there() == [7])
        assert (await ok(client, "memory_count"))["remote"] == 1

    play(served(site, there, key), story)


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[OddRemote]:
    with odd_remote(tmp_path / "odd") as made:
        yield made


def served_with(site: Site, odd: OddRemote, key: Path, *words: str) -> Server:
    remote = ("--remote", odd.url, "--remote-key-file", str(key))
    return Server(RELEASE, site, key.with_name("palace"), *remote, *words)


async def counted_as(client: Client, **expected: int) -> None:
    """Wait until these are among the counts."""
    by_s = time.monotonic() + DEADLINE_S
    counted: dict[str, Any] = {}
    while not expected.items() <= counted.items():
        assert time.monotonic() < by_s, counted
        await anyio.sleep(0.05)
        counted = await ok(client, "memory_count")


@pytest.mark.parametrize("how", ["delete again", "retry"])
def test_a_parked_deletion_is_listed_and_can_be_finished(
    site: Site, odd: OddRemote, key: Path, how: str
) -> None:
    async def story(client: Client) -> None:
        kept = await ok(client, "memory_store", content="private thing")
        await until(lambda: odd.there() == ["private thing"])
        await counted_as(client, pending=0)
        odd.odd = lambda request: request.method == "DELETE" and request.answer(500, b"a bug")
        await ok(client, "memory_delete", id=kept["id"])
        await counted_as(client, parked=1, pending=0)
        told = await ok(client, "memory_parked")
        assert told["count"] == 1
        (parked,) = told["parked"]
        assert (parked["id"], parked["operation"]) == (kept["id"], "delete")
        assert (parked["content"], parked["attempts"]) == ("private thing", 5)
        assert "answered 500: a bug" in parked["reason"]
        odd.odd = None
        if how == "retry":
            assert await ok(client, "memory_retry") == {"retried": 1}
        else:
            assert await ok(client, "memory_delete", id=kept["id"]) == {"deleted": True}
        await until(lambda: odd.there() == [])
        await counted_as(client, parked=0, pending=0)
        assert await ok(client, "memory_parked") == {"count": 0, "parked": []}
        assert await ok(client, "memory_delete", id=kept["id"]) == {"deleted": False}

    play(served_with(site, odd, key, "--sync-interval", str(INTERVAL_S)), story)


def test_what_a_recall_showed_can_be_deleted_before_it_was_pulled(
    site: Site, odd: OddRemote, key: Path
) -> None:
    async def story(client: Client) -> None:
        await counted_as(client, remote=0)
        await until(lambda: "GET /changes" in odd.asked)  # the next round is far away
        odd.put("a wrong fact")
        (memory,) = (await ok(client, "memory_recall", query="wrong"))["memories"]
        assert await ok(client, "memory_delete", id=memory["id"]) == {"deleted": True}
        assert (await ok(client, "memory_recall", query="wrong"))["memories"] == []
        await counted_as(client, local=0, pending=1)

    play(served_with(site, odd, key, "--sync-interval", "1e7"), story)
    play(served_with(site, odd, key), lambda client: counted_as(client, remote=0, pending=0))


def test_a_key_file_of_another_coding_keeps_memories_here_until_it_is_corrected(
    site: Site, odd: OddRemote, key: Path
) -> None:
    key.write_bytes("right".encode("utf-16"))

    async def story(client: Client) -> None:
        kept = await ok(client, "memory_store", content="the kettle is red")
        told = await ok(client, "memory_recall", query="kettle")
        assert ([each["id"] for each in told["memories"]], told["complete"]) == (
            [kept["id"]],
            False,
        )
        assert "key" in told["note"]
        assert (await ok(client, "memory_count"))["remote"] is None
        await anyio.to_thread.run_sync(key.write_bytes, b"\xef\xbb\xbfright\r\n")  # as Notepad does
        await until(lambda: odd.there() == ["the kettle is red"])

    play(served_with(site, odd, key, "--sync-interval", str(INTERVAL_S)), story)


def test_a_remote_without_keys_needs_no_key_file(
    site: Site, odd: OddRemote, tmp_path: Path
) -> None:
    async def story(client: Client) -> None:
        await ok(client, "memory_store", content="the kettle is red")
        await until(lambda: odd.there() == ["the kettle is red"])
        assert (await ok(client, "memory_recall", query="kettle"))["complete"]

    words = ("--remote", odd.url, "--sync-interval", str(INTERVAL_S))
    play(Server(RELEASE, site, tmp_path / "palace", *words), story)


def test_what_waits_for_another_process_keeps_no_other_call_waiting(
    site: Site, tmp_path: Path
) -> None:
    server = Server(RELEASE, site, tmp_path / "palace")

    async def story(client: Client) -> None:
        await ok(client, "memory_store", content="the kettle is red")
        path = server.palace / "memories.sqlite3"
        with closing(sqlite3.connect(path, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            stored: list[dict[str, Any]] = []

            async def store() -> None:
                stored.append(await ok(client, "memory_store", content="the pot is blue"))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store)
                for _ in range(20):  # the first may come before the store waits
                    told = await ok(client, "memory_recall", query="kettle")
                    assert [each["content"] for each in told["memories"]] == ["the kettle is red"]
                    assert (await ok(client, "status"))["memories"] == 1
                    await anyio.sleep(0.05)
                assert not stored
                holder.execute("ROLLBACK")
        assert (await ok(client, "memory_count"))["local"] == 2

    play(server, story)


def test_a_server_that_is_started_with_another_remote_keeps_and_tells_everything(
    site: Site, there: World, key: Path
) -> None:
    async def first(client: Client) -> None:
        for n in range(1, 5):
            await ok(client, "memory_store", content=words_of(n))
        await until(lambda: sorted(there.there()) == [1, 2, 3, 4])

    async def then(client: Client) -> None:
        await until(lambda: sorted(there.there()) == [1, 2, 3, 4])
        counted: dict[str, Any] = {}
        began = time.monotonic()
        while counted != {"local": 4, "remote": 4, "pending": 0, "parked": 0}:
            assert time.monotonic() < began + DEADLINE_S, counted
            counted = await ok(client, "memory_count")

    play(served(site, there, key), first)
    there.exchange()
    other = there.machine("other")
    theirs = [other.store.store(words_of(n)) for n in (11, 12, 13)]
    other.engine.sync()
    for memory in theirs:
        other.store.delete(memory.id)
    other.engine.sync()
    play(served(site, there, key), then)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--remote", "http:" + "//a..b"), "no address of a remote"),
        (("--remote", "http://localhost:99999"), "no address of a remote"),
        (("--remote", "http:" + "//me:secret@localhost:8000"), "names a user or a password"),
        (("--remote", "http:" + "//localhost:8000/?secret=1"), "has a query or a fragment"),
        (("--remote", "nowhere"), "nowhere"),
        (("--remote", "ftp://example.org"), "ftp"),
        (("--remote-key-file", "/nowhere/key"), "--remote"),
        (("--remote", "http://127.0.0.1:9", "--remote-key-file", "/nowhere/key"), "/nowhere/key"),
        (("--recall-timeout", "0"), "recall-timeout"),
        (("--recall-timeout", "nan"), "recall-timeout"),
        (("--sync-interval", "1e300"), "sync-interval"),
    ],
)
def test_a_remote_that_cannot_be_one_is_refused_before_anything_is_served(
    site: Site, tmp_path: Path, words: tuple[str, ...], expected: str
) -> None:
    server = Server(RELEASE, site, tmp_path / "palace")
    ended = server.run("--palace", str(server.palace), *words)
    assert ended.returncode == 2, ended.stderr
    assert expected in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "secret" not in ended.stderr
