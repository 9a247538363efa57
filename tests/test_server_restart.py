"""S0, fix C: a stale server starts anew on the same pipe, and every call is answered once."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    PROTOCOL_VERSION_META_KEY,
)
from mcp_types.version import LATEST_MODERN_VERSION

from palace_store.server.handover import Handover

sys.path.append(str(Path(__file__).parent / "entries"))
from raw_pipe import GREETING, RawPipe, call
from server_bench import NEXT, NOW, Server, Site, ok, play, refused

pytestmark = [pytest.mark.slow, pytest.mark.s0]

#: The protocol without and with the handshake; one of the two is enough for a pull request.
MODES = ("auto", pytest.param("legacy", marks=pytest.mark.nightly))


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server("1.5.9", Site(tmp_path / "site"), tmp_path / "palace", "--restart")


@contextmanager
def held(palace: Path) -> Iterator[None]:
    """Hold the lock of the knowledge graph, so that a call that writes it stays under way."""
    db = sqlite3.connect(palace / "knowledge.sqlite3", isolation_level=None)
    try:
        db.execute("BEGIN IMMEDIATE")
        yield
    finally:
        db.close()


async def until(there: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so; a story's own deadline bounds it."""
    while not await there():  # noqa: ASYNC110  (nobody tells: it is looked at from outside)
        await anyio.sleep(0.01)


async def _restarted(client: Client) -> bool:
    return bool((await ok(client, "status"))["restarts"])


async def _many(acknowledged: list[str], least: int) -> bool:
    return len(acknowledged) >= least


async def _says(log: Path, words: str) -> bool:
    return words in await anyio.Path(log).read_text()


def test_what_is_left_is_read_back_byte_by_byte() -> None:
    left = Handover([b'{"a": "\xc3\xa9"}\n'], [b"\xff\n", b"\n"], b'{"half', 3)
    assert Handover.load(left.dump()) == left


@pytest.mark.parametrize("mode", MODES)
def test_the_client_keeps_its_pipe_and_gets_the_new_program(mode: str, server: Server) -> None:
    async def story(client: Client) -> None:
        before = await ok(client, "status")
        await ok(client, "add_drawer", content="before", id="before")
        for restarts, version in enumerate((NEXT, "0.3.0", NOW), start=1):
            server.site.upgrade(version)
            await ok(client, "add_drawer", content=version, id=version)
            after = await ok(client, "status")
            assert after["restarts"] == restarts
            assert after["process"] == before["process"]
            assert after["running"]["palace_store"] == version
            assert not after["stale"]
        assert after["drawers"] == 4
        assert {tool.name for tool in (await client.list_tools()).tools} >= {"mine", "status"}

    play(server, story, mode)


def test_another_chromadb_is_taken_up_as_well(server: Server) -> None:
    server.site.bring_chromadb("1.5.9")

    async def story(client: Client) -> None:
        await ok(client, "add_drawer", content="before", id="before")
        server.site.upgrade("2.0.0", "chromadb")
        await ok(client, "add_drawer", content="after", id="after")
        after = await ok(client, "status")
        assert (after["restarts"], after["stale"], after["drawers"]) == (1, False, 2)
        assert after["running"] == {"palace_store": NOW, "chromadb": "2.0.0"}

    play(server, story)


@pytest.mark.parametrize("mode", MODES)
def test_a_call_under_way_is_answered_before_the_restart(mode: str, server: Server) -> None:
    answers: list[str] = []

    async def story(client: Client) -> None:
        async def add() -> None:
            await ok(client, "kg_add", subject="Ada", predicate="keeps", object="bees")
            answers.append("add")

        async def ask() -> None:
            assert (await ok(client, "status"))["restarts"] == 1
            answers.append("status")

        async with anyio.create_task_group() as tasks:
            with held(server.palace):
                tasks.start_soon(add)
                await ok(client, "search", query="the line before this one was read")
                server.site.upgrade()
                tasks.start_soon(ask)
                await until(partial(_says, server.log, "after 1 calls under way"))
        facts = (await ok(client, "kg_query", entity="Ada"))["facts"]
        assert len(facts) == 1

    play(server, story, mode)
    assert answers == ["add", "status"]


def test_a_call_that_takes_too_long_is_not_cut_off(tmp_path: Path) -> None:
    server = Server("1.5.9", Site(tmp_path / "site"), tmp_path / "palace", "--restart", "0.2")

    async def story(client: Client) -> None:
        async def add() -> None:
            await ok(client, "kg_add", subject="Ada", predicate="keeps", object="bees")

        async with anyio.create_task_group() as tasks:
            with held(server.palace):
                tasks.start_soon(add)
                await ok(client, "search", query="the line before this one was read")
                server.site.upgrade()
                with pytest.raises(MCPError, match=r"took longer than 0\.2 s; nothing was changed"):
                    await client.call_tool("add_drawer", {"content": "x"})
        assert len((await ok(client, "kg_query", entity="Ada"))["facts"]) == 1

    play(server, story)


@pytest.mark.parametrize("mode", MODES)
def test_a_new_program_that_does_not_start_costs_no_connection(mode: str, server: Server) -> None:
    async def story(client: Client) -> None:
        await ok(client, "add_drawer", content="before", id="before")
        server.site.upgrade()
        broken = server.site.package / "server" / "service.py"
        whole = broken.read_text()
        broken.write_text("this is no Python\n")
        with pytest.raises(MCPError, match=r"does not start .*SyntaxError"):
            await client.call_tool("add_drawer", {"content": "during", "id": "during"})
        told = await refused(client, "add_drawer", content="during", id="during")
        assert told["action_required"] == "restart_mcp_server"
        assert len((await ok(client, "search", query="before", n=9))["found"]) == 1
        broken.write_text(whole)
        await until(lambda: _restarted(client))
        await ok(client, "add_drawer", content="after", id="after")
        assert (await ok(client, "status"))["drawers"] == 2

    play(server, story, mode)


@pytest.mark.nightly
@pytest.mark.parametrize("mode", MODES)
def test_of_many_calls_through_several_restarts_each_is_answered_once(
    mode: str, server: Server
) -> None:
    each, workers = 12, 6
    acknowledged: list[str] = []

    async def story(client: Client) -> None:
        async def write(worker: int) -> None:
            for number in range(each):
                name = f"w{worker}-{number}"
                await until(partial(_written, client, name))
                acknowledged.append(name)

        async def upgrade() -> None:
            for part, version in enumerate((NEXT, "0.3.0", "0.4.0"), start=1):
                await until(partial(_many, acknowledged, part * 15))
                server.site.upgrade(version)

        async with anyio.create_task_group() as tasks:
            for worker in range(workers):
                tasks.start_soon(write, worker)
            tasks.start_soon(upgrade)
        status = await ok(client, "status")
        assert status["drawers"] == each * workers
        assert status["restarts"] == 3
        assert status["running"]["palace_store"] == "0.4.0"

    play(server, story, mode)
    assert len(acknowledged) == len(set(acknowledged)) == each * workers


async def _written(client: Client, name: str) -> bool:
    """Write a drawer; in the middle of an installation it may be refused, with nothing changed."""
    try:
        answer = await client.call_tool("add_drawer", {"content": name, "id": name})
    except MCPError as error:
        assert "nothing was changed" in str(error)  # noqa: PT017  (what it says is the point)
        return False
    told: dict[str, Any] = answer.structured_content or {}
    if answer.is_error:
        assert (told["error"], told["effect"]) == ("StaleServerError", "none")
        return False
    assert told["id"] == name
    return True


def test_a_handshake_that_was_refused_is_not_told_again(server: Server) -> None:
    """A client whose first question takes too long tries the older protocol in vain."""
    envelope = {
        "_meta": {
            PROTOCOL_VERSION_META_KEY: LATEST_MODERN_VERSION,
            CLIENT_INFO_META_KEY: {"name": "raw", "version": "1"},
            CLIENT_CAPABILITIES_META_KEY: {},
        }
    }
    pipe = RawPipe(server)
    try:
        pipe.send({"id": 1, "method": "server/discover", "params": envelope}, GREETING)
        assert "result" in pipe.receive()
        assert "error" in pipe.receive()
        server.site.upgrade()
        asked = call(2, "status")
        asked["params"].update(envelope)
        pipe.send(asked)
        answer = pipe.receive()
        assert answer["id"] == 2
        assert answer["result"]["structuredContent"]["restarts"] == 1
    finally:
        assert pipe.close() == b""


def test_bytes_that_were_read_ahead_are_not_lost(server: Server) -> None:
    pipe = RawPipe(server)
    try:
        pipe.send(GREETING)
        assert pipe.receive()["id"] == 0
        pipe.send({"method": "notifications/initialized"}, call(1, "status"))
        assert pipe.receive()["id"] == 1
        server.site.upgrade()
        half = json.dumps({"jsonrpc": "2.0", **call(9, "add_drawer", content="nine")}).encode()
        pipe.send(
            *(call(number, "add_drawer", content=f"text {number}") for number in range(2, 9)),
            more=half[:40],
        )
        answers = [pipe.receive() for _ in range(2, 9)]
        assert sorted(each["id"] for each in answers) == list(range(2, 9))
        pipe.send(more=half[40:] + b"\n")
        assert pipe.receive()["id"] == 9
        pipe.send(call(10, "status"))
        status = pipe.receive()["result"]["structuredContent"]
        assert (status["restarts"], status["drawers"]) == (1, 8)
    finally:
        assert pipe.close() == b""
