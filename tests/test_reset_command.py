"""The reset of embeddings from a shell: beside living servers, killed in its middle, refused."""

from __future__ import annotations

import fcntl
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from mcp import Client

sys.path.append(str(Path(__file__).parent / "entries"))
from server_bench import DEADLINE_S, Server, Site, ok, play, refused
from store_bench import NEWEST_IN_PULL_REQUESTS

from palace_store.sqlite_lock import lock_file

pytestmark = [pytest.mark.slow, pytest.mark.s3]

A, B = "stand-in-a", "stand-in-b"
TO_B = ("--model", B, "--dimension", "16")
TEXTS = ("Ada keeps bees", "Bob keeps time", "Cy keeps quiet")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


def reset(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(server.python), "-m", "palace_store.embedding_reset", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
        env=server.environ,
        cwd=server.site.directory,
    )


async def pasted(server: Server, sentence: str) -> dict[str, Any]:
    """Run the command that a refusal names, as it stands there; returns its line of results."""
    (line,) = re.findall("`(.*)`", sentence)
    program, *words = shlex.split(line)
    assert [program, *words[:2]] == ["python", "-m", "palace_store.embedding_reset"]
    ended = await anyio.to_thread.run_sync(lambda: reset(server, *words[2:]))
    assert ended.returncode == 0, ended.stderr
    told: dict[str, Any] = json.loads(ended.stdout)
    return told


async def refused_both_named(client: Client, tool: str, **arguments: Any) -> str:
    told = await refused(client, tool, **arguments)
    assert told["error"] == "OtherModelError"
    assert A in told["sentence"]
    assert B in told["sentence"]
    return str(told["sentence"])


@pytest.mark.parametrize("release", NEWEST_IN_PULL_REQUESTS)
def test_the_command_of_a_refusal_gives_the_palace_away_beside_a_living_server(
    release: str, site: Site, tmp_path: Path
) -> None:
    palace = tmp_path / "a palace"
    old, new = Server(release, site, palace), Server(release, site, palace, "--model", B)

    async def both(client: Client) -> None:
        for text in TEXTS:
            await ok(client, "add_drawer", content=text)
        await ok(client, "diary_write", entry="Today there were bees")
        with new.client() as reached:
            async with reached as newcomer:
                sentence = await refused_both_named(newcomer, "search", query="bees")
                told = (await pasted(new, sentence))["drawers"]
                assert (A in told["before"], told["embedded"], told["rows"]) == (True, 3, 3)
                for text in TEXTS:
                    (found,) = (await ok(newcomer, "search", query=text, n=1))["found"]
                    assert (found["content"], round(found["distance"], 3)) == (text, 0)
                await refused_both_named(client, "search", query="bees")
                await refused_both_named(client, "add_drawer", content="too late")
                # The diary was not named, so it is still the old server's.
                await ok(client, "search", query="bees", collection="diary")
                sentence = await refused_both_named(newcomer, "diary_write", entry="x")
                assert list(await pasted(new, sentence)) == ["diary"]
                (found,) = (await ok(newcomer, "search", query="bees", collection="diary"))["found"]
                assert found["content"] == "Today there were bees"
                await refused_both_named(client, "diary_write", entry="x")

    play(old, both)
    again = reset(new, str(palace), *TO_B)
    assert again.returncode == 0, again.stderr
    assert {name: told["embedded"] for name, told in json.loads(again.stdout).items()} == {
        "diary": 0,
        "drawers": 0,
    }


@pytest.mark.nightly
def test_killed_in_its_middle_the_same_command_goes_on(site: Site, tmp_path: Path) -> None:
    palace, folder = tmp_path / "palace", tmp_path / "notes"
    folder.mkdir()
    for number in range(300):
        (folder / f"{number}.txt").write_text(f"note {number}")
    server = Server("1.5.9", site, palace)
    words = [str(palace), *TO_B, "--batch", "1"]

    def killed() -> None:
        """Kill a reset that has embedded something, and cannot have told that it did all."""
        command = [str(server.python), "-m", "palace_store.embedding_reset", *words]
        with subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=server.environ,
            cwd=site.directory,
        ) as process:
            assert process.stderr is not None
            fcntl.fcntl(process.stderr, fcntl.F_SETPIPE_SZ, 4096)  # no more is told unheard
            assert process.stderr.readline().startswith(b"drawers: 1 batches")
            process.kill()

    async def story(client: Client) -> None:
        await ok(client, "mine", folder=str(folder))
        await anyio.to_thread.run_sync(killed)
        (found,) = (await ok(client, "search", query="note 7", n=1))["found"]
        assert found["content"] == "note 7"
        ended = await anyio.to_thread.run_sync(lambda: reset(server, *words))
        assert ended.returncode == 0, ended.stderr
        told = json.loads(ended.stdout)
        assert list(told) == ["drawers"]  # what was aside is no collection of its own
        assert told["drawers"]["rows"] == 300
        assert 0 < told["drawers"]["embedded"] < 300, "begun anew, or not killed in its middle"
        await refused_both_named(client, "search", query="note 7")

    async def found(client: Client) -> None:
        for number in range(0, 300, 7):
            (found,) = (await ok(client, "search", query=f"note {number}", n=1))["found"]
            assert found["content"] == f"note {number}"

    play(server, story)
    play(Server("1.5.9", site, palace, "--model", B), found)


def test_what_cannot_be_reset_is_refused_in_one_sentence(site: Site, tmp_path: Path) -> None:
    palace = tmp_path / "palace"
    server = Server("1.5.9", site, palace)

    async def fill(client: Client) -> None:
        await ok(client, "add_drawer", content=TEXTS[0])

    def said(code: int, *words: str) -> str:
        ended = reset(server, *words)
        assert (ended.returncode, ended.stdout) == (code, ""), ended
        (line,) = ended.stderr.splitlines()
        return line

    play(server, fill)
    assert "--model" in said(2, str(palace))
    assert "no chroma.sqlite3" in said(2, str(tmp_path / "none"), *TO_B)
    assert not (tmp_path / "none").exists()
    assert "no chroma.sqlite3" in said(2, "", *TO_B)
    assert "dimensions, not of 0" in said(2, str(palace), "--model", B, "--dimension", "0")
    assert "invalid number of texts" in said(2, str(palace), *TO_B, "--batch", "0")
    missing = said(2, str(palace), *TO_B, "--collection", "drawer")
    assert "no collection 'drawer'" in missing
    assert missing.endswith("there are drawers")
    with lock_file(palace / ".palace" / "reset.lock"):
        assert "another process gives" in said(1, str(palace), *TO_B)
    bare = (
        "import sys; from palace_store.drawers import DrawerStore; "
        "DrawerStore(sys.argv[1]).add(['bare'], [[1.0] * 16], collection='vectors')"
    )
    subprocess.run(
        [str(server.python), "-c", bare, str(palace)],
        check=True,
        timeout=DEADLINE_S,
        env=server.environ,
        cwd=site.directory,
    )
    assert "'bare' of 'vectors' has no text" in said(
        1, str(palace), *TO_B, "--collection", "vectors"
    )
    partly = reset(server, str(palace), *TO_B)  # drawers come first
    assert partly.returncode == 1
    assert "'bare' of 'vectors' has no text" in partly.stderr
    assert list(json.loads(partly.stdout)) == ["drawers"]
