"""S0, fix C: a new program that starts, but cannot serve this palace, costs no call its answer."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

sys.path.append(str(Path(__file__).parent / "entries"))
from raw_pipe import GREETING, RawPipe, call
from server_bench import DEADLINE_S, SMALL, Server, Site, ok, play

pytestmark = [pytest.mark.slow, pytest.mark.s0]

MODES = ("auto", pytest.param("legacy", marks=pytest.mark.nightly))


def server_on(tmp_path: Path, *words: str) -> Server:
    site = Site(tmp_path / "site")
    site.bring_chromadb("1.5.9")
    return Server("1.5.9", site, tmp_path / "palace", "--restart", *words)


async def until(there: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so; a story's own deadline bounds it."""
    while not await there():  # noqa: ASYNC110  (nobody tells: it is looked at from outside)
        await anyio.sleep(0.01)


async def _restarted(client: Client) -> bool:
    return bool((await ok(client, "status"))["restarts"])


async def stays(client: Client, replace: Callable[[], object], expected: str) -> None:
    """Meet a restart that is refused: nothing is written, and the old program goes on."""
    before = await ok(client, "status")
    replace()
    with pytest.raises(MCPError, match=expected) as refused:
        await client.call_tool("add_drawer", {"content": "during"})
    assert "nothing was changed" in str(refused.value)
    after = await ok(client, "status")
    assert after["stale"]
    for same in ("process", "restarts", "drawers"):
        assert after[same] == before[same]
    assert len((await ok(client, "search", query="before", n=9))["found"]) == before["drawers"]


@pytest.mark.nightly
@pytest.mark.parametrize("mode", MODES)
def test_a_chromadb_older_than_the_palace_is_not_restarted_into(mode: str, tmp_path: Path) -> None:
    server = server_on(tmp_path)

    async def story(client: Client) -> None:
        await ok(client, "add_drawer", content="before")
        set_back = partial(server.site.upgrade, "1.5.7", "chromadb")
        await stays(client, set_back, r"runs chromadb 1\.5\.7, but .* opened by chromadb 1\.5\.9")
        server.site.upgrade("2.0.0", "chromadb")
        await until(lambda: _restarted(client))
        await ok(client, "add_drawer", content="after")
        assert (await ok(client, "status"))["drawers"] == 2

    play(server, story, mode)


@pytest.mark.nightly
@pytest.mark.parametrize("mode", MODES)
def test_a_build_with_a_local_version_is_restarted_into_once(mode: str, tmp_path: Path) -> None:
    server, local = server_on(tmp_path), "1.5.9+local1"

    async def story(client: Client) -> None:
        await ok(client, "add_drawer", content="before")
        server.site.info("1.5.9", "chromadb").rename(server.site.info(local, "chromadb"))
        await ok(client, "add_drawer", content="after")
        after = await ok(client, "status")
        assert (after["restarts"], after["stale"], after["drawers"]) == (1, False, 2)
        assert after["running"]["chromadb"] == local

    play(server, story, mode)


def test_a_program_that_would_be_stale_at_once_is_not_restarted_into(tmp_path: Path) -> None:
    """It replaces itself while it is imported, each time."""
    server = server_on(tmp_path)
    record = server.site.info("2.0.0", "chromadb") / "RECORD"

    def replace() -> None:
        server.site.upgrade("2.0.0", "chromadb")
        init = server.site.directory / "chromadb" / "__init__.py"
        other = f"open({str(record)!r}, 'a').write(f'chromadb/x.py,{{time.time_ns()}},1\\n')"
        init.write_text(f"{init.read_text()}\nimport time\n{other}\n")

    async def story(client: Client) -> None:
        await ok(client, "add_drawer", content="before")
        await stays(client, replace, r"chromadb 2\.0\.0, with other code is installed")

    play(server, story)


@pytest.mark.nightly
@pytest.mark.parametrize("mode", MODES)
def test_a_key_file_that_is_away_is_waited_for(mode: str, tmp_path: Path) -> None:
    key, away = tmp_path / "key", tmp_path / "away"
    key.write_text("right")
    remote = ("--remote", "http://127.0.0.1:9/memories", "--remote-key-file", str(key))
    server = server_on(tmp_path, *remote)

    async def story(client: Client) -> None:
        await ok(client, "add_drawer", content="before")
        key.rename(away)
        await stays(client, server.site.upgrade, "key is no file")
        away.rename(key)
        await until(lambda: _restarted(client))
        await ok(client, "add_drawer", content="after")

    play(server, story, mode)


@pytest.mark.nightly
@pytest.mark.parametrize("mode", MODES)
def test_half_a_configuration_is_not_restarted_with(mode: str, tmp_path: Path) -> None:
    config = tmp_path / "model.json"
    stand_in = {"provider": "stand-in", "model": "stand-in-a", "dimension": 16}
    whole = json.dumps({**stand_in, "normalised": True, "revision": "1"})
    config.write_text(whole)
    server = server_on(tmp_path, "--model-config", str(config))

    async def story(client: Client) -> None:
        await ok(client, "add_drawer", content="before")
        config.write_text(whole[:20])
        await stays(client, server.site.upgrade, "configures no embedding model")
        config.write_text(whole)
        await until(lambda: _restarted(client))
        await ok(client, "add_drawer", content="after")

    play(server, story, mode)


@pytest.mark.nightly
def test_a_program_that_knows_no_check_is_asked_for_its_version(tmp_path: Path) -> None:
    server = server_on(tmp_path)

    async def story(client: Client) -> None:
        command = server.site.package / "server" / "command.py"
        known, other = '"--check"', '"--another", dest="check"'
        command.write_text(command.read_text().replace(known, other))
        server.site.upgrade()
        await ok(client, "add_drawer", content="after")
        assert (await ok(client, "status"))["restarts"] == 1

    play(server, story)


@contextmanager
def piped(server: Server) -> Iterator[RawPipe]:
    """Greet a server, and have it write a fact."""
    pipe = RawPipe(server)
    try:
        pipe.send(GREETING)
        assert pipe.receive()["id"] == 0
        fact = call(1, "kg_add", subject="Ada", predicate="keeps", object="bees")
        pipe.send({"method": "notifications/initialized"}, fact)
        assert pipe.receive()["id"] == 1
        yield pipe
    finally:
        pipe.process.kill()
        pipe.process.communicate()


def test_a_server_that_cannot_restart_answers_what_reads(tmp_path: Path) -> None:
    """What changes something is refused, and each is answered once."""
    server = server_on(tmp_path)
    with piped(server) as pipe:
        server.site.upgrade("1.5.7", "chromadb")
        asked = [
            call(2, "status"),
            call(3, "kg_query", entity="Ada"),
            call(4, "kg_add", subject="Ada", predicate="keeps", object="goats"),
            call(5, "kg_query", entity="Ada"),
        ]
        pipe.send(*asked)
        answers = {each["id"]: each for each in (pipe.receive() for _ in asked)}
        status = answers[2]["result"]["structuredContent"]
        assert (status["restarts"], status["stale"], status["triples"]) == (0, True, 1)
        for reading in (3, 5):
            (fact,) = answers[reading]["result"]["structuredContent"]["facts"]
            assert fact["object"] == "bees"
        told = json.dumps(answers[4])  # it was handed over, or still to be read
        assert "chromadb 1.5.7" in told
        assert "nothing was changed" in told
        assert pipe.close() == b""


def newer(file: Path) -> None:
    """Give a file, which somebody may have open, the schema of a library to come."""
    with closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize("name", ["knowledge.sqlite3", "memories.sqlite3"])
def test_a_library_older_than_a_file_is_not_restarted_into(name: str, tmp_path: Path) -> None:
    server = server_on(tmp_path)

    async def story(client: Client) -> None:
        await ok(client, "add_drawer", content="before")
        await ok(client, "kg_add", subject="Ada", predicate="keeps", object="bees")
        await ok(client, "memory_store", content="the bees are in the garden")

        def replace() -> None:
            newer(server.palace / name)
            server.site.upgrade()

        await stays(client, replace, rf"{name} has schema 99, this library knows \d: upgrade")

    play(server, story)


@pytest.mark.parametrize("left", ["log", "no log", "log of nobody"])
def test_a_newer_schema_is_seen_without_a_trace(tmp_path: Path, left: str) -> None:
    server, made = server_on(tmp_path), tmp_path / "made"
    made.mkdir()
    server.palace.mkdir()
    with closing(sqlite3.connect(made / "knowledge.sqlite3")) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA user_version = 99")
        if left == "no log":
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for each in made.iterdir():
            if left == "log" or not each.name.endswith("-shm"):
                shutil.copy(each, server.palace)
    before = {path: path.stat().st_mtime_ns for path in server.palace.rglob("*")}
    ended = server.run("--check", "--palace", str(server.palace), *SMALL)
    assert {path: path.stat().st_mtime_ns for path in server.palace.rglob("*")} == before
    assert ended.returncode == 2
    assert "has schema 99, this library knows" in ended.stderr


def spoil(palace: Path) -> None:
    """Put in the place of the knowledge graph what only opening it shows, and nobody can."""
    (palace / "knowledge.sqlite3").rename(palace / "aside")
    (palace / "knowledge.sqlite3").mkdir()


@pytest.mark.nightly
def test_a_successor_that_is_refused_the_palace_answers_what_it_was_left(tmp_path: Path) -> None:
    server = server_on(tmp_path)
    with piped(server) as pipe:
        spoil(server.palace)
        server.site.upgrade()
        asked = [call(number, "add_drawer", content=f"text {number}") for number in range(2, 9)]
        cancelled: dict[str, Any] = {"method": "notifications/cancelled", "params": {}}
        pipe.send(*asked, cancelled, more=b'{"jsonrpc": "2.0", "id": 9, "meth')
        answers = [pipe.receive() for _ in asked]
        assert sorted(each["id"] for each in answers) == list(range(2, 9))
        for each in answers:
            told = each["error"]["message"]
            assert "cannot be used as a knowledge graph" in told
            assert "nothing was changed" in told
            assert "restart_mcp_server" in told
        assert pipe.process.wait(DEADLINE_S) == 2
        assert pipe.close() == b""
    (server.palace / "knowledge.sqlite3").rmdir()
    (server.palace / "aside").rename(server.palace / "knowledge.sqlite3")

    async def story(client: Client) -> None:
        status = await ok(client, "status")
        assert (status["drawers"], status["triples"]) == (0, 1)

    play(server, story)


def test_the_check_changes_nothing(tmp_path: Path) -> None:
    server = server_on(tmp_path)
    checked = ("--check", "--palace", str(server.palace), *SMALL)
    assert server.run(*checked).returncode == 0
    assert not server.palace.exists()

    async def story(client: Client) -> None:
        await ok(client, "add_drawer", content="before")
        before = {path: path.stat().st_mtime_ns for path in server.palace.rglob("*")}
        ended = server.run(*checked)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert {path: path.stat().st_mtime_ns for path in server.palace.rglob("*")} == before

    play(server, story)
