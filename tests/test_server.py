"""The memory server through the SDK's own client: every tool, both transports, bad input."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

sys.path.append(str(Path(__file__).parent / "entries"))
from harm import index_of, unlink
from server_bench import DEADLINE_S, NOW, SMALL, Server, Site, ok, play, refused

from palace_store.fixes import Fixes

pytestmark = [pytest.mark.slow, pytest.mark.s0]

RELEASES = ("0.6.3", "1.0.21", "1.5.9")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def server(site: Site, tmp_path: Path) -> Server:
    return Server("1.5.9", site, tmp_path / "palace")


async def walk(client: Client, folder: Path) -> None:
    """Use every tool once, and look what it did."""
    (folder / "notes").mkdir()
    (folder / "notes" / "one.md").write_text("The kettle is in the kitchen.\n")
    (folder / "picture.bin").write_bytes(b"\x00\xff")
    listed = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(listed) == {
        *("status", "add_drawer", "search", "diary_write", "mine"),
        *("kg_add", "kg_query", "kg_invalidate"),
        *("memory_store", "memory_recall", "memory_delete", "memory_count"),
        *("memory_parked", "memory_retry"),
    }
    reading = {name for name, tool in listed.items() if tool.annotations.read_only_hint}
    assert reading == {
        *("status", "search", "kg_query", "memory_recall", "memory_count", "memory_parked"),
    }
    assert all(tool.description for tool in listed.values())

    first = await ok(client, "add_drawer", content="Ada keeps bees", wing="garden", room="shed")
    again = await ok(client, "add_drawer", content="Ada keeps bees", wing="garden", room="shed")
    assert (first["new"], again["new"], first["id"]) == (True, False, again["id"])
    await ok(client, "add_drawer", content="Bob keeps time", id="bob")
    mined = await ok(client, "mine", folder=str(folder))
    assert (mined["files"], mined["drawers"], mined["passed_over"]) == (1, 1, 1)
    assert mined["new"] == 1
    assert {**mined, "new": 0} == await ok(client, "mine", folder=str(folder))
    (folder / "notes" / "two.md").write_text("The pan is in the kitchen too.\n")
    assert {**mined, "new": 1, "files": 2, "drawers": 2} == await ok(
        client, "mine", folder=str(folder)
    )
    await ok(client, "diary_write", entry="Today I learned about bees", agent="ada")

    async def nearest(query: str, **more: Any) -> str:
        return str((await ok(client, "search", query=query, n=1, **more))["found"][0]["content"])

    assert await nearest("Ada keeps bees") == "Ada keeps bees"
    assert await nearest("the kettle in the kitchen") == "The kettle is in the kitchen.\n"
    assert await nearest("bees", collection="diary") == "Today I learned about bees"

    await ok(client, "kg_add", subject="Ada", predicate="keeps", object="bees", key="k1")
    told = await ok(client, "kg_query", entity="Ada")
    assert [fact["object"] for fact in told["facts"]] == ["bees"]
    ended = await ok(client, "kg_invalidate", subject="Ada", predicate="keeps", object="bees")
    assert ended == {"ended": 1}
    assert (await ok(client, "kg_query", entity="Ada", as_of="2999-01-01"))["facts"] == []

    assert (await ok(client, "status"))["memories"] == 0
    kept = await ok(client, "memory_store", content="The tea is green", metadata={"by": "ada"})
    assert kept == await ok(client, "memory_store", content="The tea is green")
    told = await ok(client, "memory_recall", query="tea")
    assert [(each["id"], each["metadata"]) for each in told["memories"]] == [
        (kept["id"], {"by": "ada"})
    ]
    assert (told["complete"], told["note"]) == (True, "")
    assert (await ok(client, "memory_recall", query="tea", namespace="work"))["memories"] == []
    counted = {"local": 1, "remote": None, "pending": 0, "parked": 0}
    assert await ok(client, "memory_count") == counted
    assert await ok(client, "memory_parked") == {"count": 0, "parked": []}
    assert await ok(client, "memory_retry") == {"retried": 0}
    assert await ok(client, "memory_delete", id=kept["id"]) == {"deleted": True}
    assert await ok(client, "memory_delete", id=kept["id"]) == {"deleted": False}
    await ok(client, "memory_store", content="The pot is blue", namespace="work")

    status = await ok(client, "status")
    assert status["memories"] == 1
    assert (status["drawers"], status["triples"], status["stale"]) == (4, 1, False)
    assert status["running"] == status["installed"]
    assert status["running"]["palace_store"] == NOW
    assert status["action_required"] is None


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("mode", ["auto", pytest.param("legacy", marks=pytest.mark.nightly)])
def test_every_tool_works_over_stdio(release: str, mode: str, site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    server = Server(release, site, tmp_path / "palace")
    play(server, lambda client: walk(client, folder), mode)


def test_every_tool_works_over_the_restartable_pipe(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    server = Server("1.5.9", site, tmp_path / "palace", "--restart")
    play(server, lambda client: walk(client, folder), "legacy")


@pytest.fixture
def port(server: Server) -> Iterator[int]:
    """Serve over HTTP on a free port of this machine; ends the server afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = int(probe.getsockname()[1])
    words = [str(server.python), *server.words, "--http", "--port", str(number)]
    with subprocess.Popen(words, env=server.environ) as process:
        try:
            listens_by_s = time.monotonic() + DEADLINE_S
            while not _listens(number):
                assert process.poll() is None
                assert time.monotonic() < listens_by_s
                time.sleep(0.05)
            yield number
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(DEADLINE_S)
            finally:
                process.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_every_tool_works_over_http(port: int, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    async def story() -> None:
        with anyio.fail_after(DEADLINE_S):
            async with Client(f"http://127.0.0.1:{port}/mcp") as client:
                await walk(client, folder)

    anyio.run(story)


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("add_drawer", {}, "content: field required"),
    ("add_drawer", {"content": 7}, "content"),
    ("add_drawer", {"content": "  "}, "content is empty"),
    ("add_drawer", {"content": "a\0b"}, "NUL at position 1"),
    ("add_drawer", {"content": "x" * (1024 * 1024 + 1)}, "at most 1048576"),
    ("add_drawer", {"content": "x", "place": "y"}, "no argument 'place'"),
    ("add_drawer", {"content": "x", "wing": 3}, "wing"),
    ("add_drawer", {"content": "x", "id": "i" * 600}, "600 bytes"),
    ("add_drawer", {"content": "other", "id": "taken"}, "holds another text"),
    ("diary_write", {"entry": ""}, "entry is empty"),
    ("diary_write", {"entry": "x", "agent": ""}, "agent is empty"),
    ("mine", {"folder": ""}, "names no folder"),
    ("mine", {"folder": "/nowhere/at/all"}, "is not there"),
    ("mine", {"folder": "{file}"}, "is a file"),
    ("mine", {"folder": "{empty}"}, "no text in any"),
    ("mine", {"folder": "{palace}"}, "holds the palace"),
    ("search", {"query": ""}, "query is empty"),
    ("search", {"query": "x", "n": 0}, "1 to 100, not 0"),
    ("search", {"query": "x", "n": "many"}, "n: "),
    ("search", {"query": "x", "collection": "a"}, "cannot name a collection"),
    ("search", {"query": "x", "collection": "dairy"}, "search one of diary, drawers"),
    ("kg_add", {"subject": "a", "predicate": "b"}, "object: field required"),
    ("kg_add", {"subject": " ", "predicate": "b", "object": "c"}, "subject is empty"),
    (
        "kg_add",
        {"subject": "a", "predicate": "b", "object": "c", "valid_from": "soon"},
        "is not a date",
    ),
    ("kg_invalidate", {"subject": "a", "predicate": "b", "object": "\0"}, "object"),
    ("kg_query", {"entity": "a", "direction": "up"}, "direction"),
    ("kg_query", {"entity": "a", "as_of": "2001-13-01"}, "not a date"),
    ("memory_store", {}, "content: field required"),
    ("memory_store", {"content": " "}, "content"),
    ("memory_store", {"content": "a\0b"}, "NUL"),
    ("memory_store", {"content": "a", "namespace": ""}, "namespace"),
    ("memory_store", {"content": "a", "metadata": [1]}, "metadata"),
    ("search", {"query": "a", "n": True}, "n is a number, not true"),
    ("add_drawer", {"content": "a", "id": ""}, "id is empty"),
    ("add_drawer", {"content": "a", "id": " "}, "id is empty"),
    ("memory_recall", {"query": ""}, "query"),
    ("memory_recall", {"query": "a", "limit": True}, "limit is a number, not true"),
    ("memory_recall", {"query": "a", "limit": 0}, "limit"),
    ("memory_recall", {"query": "a", "context": {}}, "no argument 'context'"),
    ("memory_delete", {"id": ""}, "id"),
    ("memory_count", {"at": "remote"}, "no argument 'at'"),
    ("memory_parked", {"at": "remote"}, "no argument 'at'"),
    ("memory_retry", {"id": "a"}, "no argument 'id'"),
    ("status", {"please": 1}, "no argument 'please'"),
    ("nothing", {}, "there is no tool 'nothing'"),
]


def test_bad_input_is_refused_in_a_sentence_and_changes_nothing(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    places = {
        "{file}": str(tmp_path / "file"),
        "{empty}": str(tmp_path / "empty"),
        "{palace}": str(server.palace),
    }

    async def story(client: Client) -> None:
        await ok(client, "add_drawer", content="first", id="taken")
        await ok(client, "kg_add", subject="a", predicate="b", object="c")
        before = await ok(client, "status")
        for tool, arguments, expected in BAD:
            filled = {name: places.get(str(value), value) for name, value in arguments.items()}
            told = await refused(client, tool, **filled)
            assert expected in told["sentence"], (tool, told)
            assert await ok(client, "status") == before, (tool, told)

    play(server, story)


def test_a_text_that_is_json_is_that_text(server: Server) -> None:
    """Where a text may be left away, what looks like JSON is no other value."""

    async def story(client: Client) -> None:
        for text in ("null", "{}", "[1]", "true", "12", '"x"', "1e999", "NaN"):
            await _is_that_text(client, text)

    play(server, story)


async def _is_that_text(client: Client, text: str) -> None:
    name = f"Ada of {text}"
    fact = {"subject": name, "predicate": "keeps", "object": "bees"}
    first = await ok(client, "kg_add", **fact, source=text, key=text)
    (told,) = (await ok(client, "kg_query", entity=name))["facts"]
    assert told["source"] == text
    assert await ok(client, "kg_add", **fact, source=text, key=text) == first
    said = await refused(client, "kg_add", **{**fact, "object": "goats"}, key=text)
    assert "this key names another triple" in said["sentence"]
    assert (await ok(client, "add_drawer", content="x", id=text))["id"] == text
    await refused(client, "add_drawer", content="y", id=text)
    await ok(client, "memory_store", content="bees here")
    kept = await ok(client, "memory_store", content="bees there", namespace=text)
    (found,) = (await ok(client, "memory_recall", query="bees", namespace=text))["memories"]
    assert found["id"] == kept["id"]
    for tool, arguments in (
        ("kg_add", {**fact, "valid_from": text}),
        ("kg_invalidate", {**fact, "ended": text}),
        ("kg_query", {"entity": name, "as_of": text}),
    ):
        assert "is not a date" in (await refused(client, tool, **arguments))["sentence"]
    assert len((await ok(client, "kg_query", entity=name))["facts"]) == 1


def test_null_is_nothing_and_an_object_may_come_as_text(server: Server) -> None:
    """Some clients write an object into a text; a text that is left away may be null."""

    async def story(client: Client) -> None:
        fact = {"subject": "Ada", "predicate": "keeps", "object": "bees"}
        await ok(client, "kg_add", **fact, source=None, key=None, valid_from=None)
        await ok(client, "add_drawer", content="x", id=None)
        await ok(client, "memory_store", content="bees", metadata='{"by": "ada"}')
        (found,) = (await ok(client, "memory_recall", query="bees", namespace=None))["memories"]
        assert found["metadata"] == {"by": "ada"}
        assert len((await ok(client, "search", query="x", n="1"))["found"]) == 1

    play(server, story)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "--palace"),
        (["--palace", ""], "cannot be the path of a palace"),
        (["--palace", "{file}"], "{file}"),
        (["--palace", "{file}/below"], "{file}"),
        (["--palace", "{newer}"], "has been opened by chromadb 99.0.0"),
        (["--palace", "{new}", "--fixes", "nonsense"], "no fix named 'nonsense'"),
        (["--palace", "{new}", "--dimension", "0"], "dimensions, not of 0"),
        (["--palace", "{new}", "--sync-threshold", "1"], "sync_threshold"),
        (["--palace", "{new}", "--http", "--restart"], "choose one of them"),
        (["--palace", "{new}", "--http", "--port", "{port}"], "cannot listen on 127.0.0.1"),
        (["--palace", "{new}", "--http", "--port", "no"], "invalid int value"),
        (["--palace", "{new}", "--nonsense"], "unrecognized arguments"),
    ],
)
def test_a_server_that_cannot_serve_says_so_in_one_sentence(
    words: list[str], expected: str, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    newer = tmp_path / "newer" / ".palace"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        places = {
            "{file}": str(tmp_path / "file"),
            "{newer}": str(newer.parent),
            "{new}": str(tmp_path / "new"),
            "{port}": str(taken.getsockname()[1]),
        }
        if "{newer}" in words:
            play(Server("1.5.9", server.site, newer.parent), _nothing)
            state = newer / "state.json"
            state.write_text(state.read_text().replace('"1.5.9"', '"99.0.0"'))
        for name, place in places.items():
            words = [word.replace(name, place) for word in words]
            expected = expected.replace(name, place)
        ended = server.run(*words)
    assert ended.returncode == 2
    assert ended.stdout == ""
    (line,) = ended.stderr.strip().splitlines()
    assert line.startswith("palace-server: ")
    assert expected in line


def test_a_disk_without_room_is_said_in_one_sentence(server: Server) -> None:
    """No file may get longer than 32 KiB, which is as good as a full disk to whoever writes one."""
    ended = server.run("--palace", str(server.palace), *SMALL, file_kib_max=32)
    assert ended.returncode == 3, ended.stderr
    (line,) = ended.stderr.strip().splitlines()
    assert line.startswith(f"palace-server: {server.palace} could not be served (")
    assert line.endswith("see that its disk has room and that it is whole, then start again")


async def _nothing(client: Client) -> None:
    await ok(client, "status")


def test_the_command_says_what_it_would_serve(server: Server) -> None:
    ended = server.run("--version")
    assert (ended.returncode, ended.stdout) == (0, f"palace_store {NOW}, chromadb 1.5.9\n")


def test_without_the_sdk_the_command_says_what_to_install(server: Server, tmp_path: Path) -> None:
    (tmp_path / "mcp").mkdir()  # hides the real one, and has nothing that is asked for
    (tmp_path / "mcp" / "__init__.py").write_text("raise ModuleNotFoundError(name='mcp')\n")
    server.environ["PYTHONPATH"] += f":{tmp_path}"
    ended = server.run("--palace", str(tmp_path / "palace"), *SMALL)
    assert ended.returncode == 2
    assert "mcp is not installed in" in ended.stderr
    assert not (tmp_path / "palace").exists()


def test_what_was_acknowledged_is_there_after_the_server_was_killed(server: Server) -> None:
    async def first(client: Client) -> None:
        for number in range(12):
            await ok(client, "add_drawer", content=f"memory {number}", id=f"m{number}")
        os.kill(int((await ok(client, "status"))["process"]), signal.SIGKILL)
        with pytest.raises(MCPError, match="closed"):
            await client.call_tool("status", {})

    async def second(client: Client) -> None:
        assert (await ok(client, "status"))["drawers"] == 12

    play(server, first)
    play(server, second)


@pytest.mark.s1
def test_a_search_says_which_drawers_no_search_finds(site: Site, tmp_path: Path) -> None:
    fixes = " ".join(Fixes.all().without("foreign_check").words())  # the harm is done by hand
    server = Server("1.5.9", site, tmp_path / "palace", "--fixes", fixes)
    folder = tmp_path / "notes"
    folder.mkdir()
    for number in range(500):
        (folder / f"{number}.txt").write_text(f"note {number}")

    async def fill(client: Client) -> None:
        assert (await ok(client, "mine", folder=str(folder)))["drawers"] == 500
        assert "incomplete" not in await ok(client, "search", query="note 7")

    async def ask(client: Client) -> None:
        (said,) = (await ok(client, "search", query="note 7"))["incomplete"]
        assert "of the 500 drawers of 'drawers'" in said
        assert "are found by no search" in said

    play(server, fill)
    unlink(index_of(server.palace).path, 130)
    play(server, ask)
