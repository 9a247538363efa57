"""S0, fixes A and B: which tools a server answers when its library was replaced, or is being."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from palace_store.fixes import Fixes

sys.path.append(str(Path(__file__).parent / "entries"))
from server_bench import NEXT, NOW, Server, Site, ok, play, refused

pytestmark = [pytest.mark.slow, pytest.mark.s0]

READING: dict[str, dict[str, Any]] = {
    "search": {"query": "bees"},
    "kg_query": {"entity": "Ada"},
    "memory_recall": {"query": "bees"},
    "memory_count": {},
    "memory_parked": {},
}
CHANGING: dict[str, dict[str, Any]] = {
    "add_drawer": {"content": "another"},
    "diary_write": {"entry": "another"},
    "mine": {"folder": "{folder}"},
    "kg_add": {"subject": "Ada", "predicate": "keeps", "object": "goats"},
    "kg_invalidate": {"subject": "Ada", "predicate": "keeps", "object": "bees"},
    "memory_store": {"content": "another"},
    "memory_delete": {"id": "another"},
    "memory_retry": {},
}
REST = Fixes.all().without("stale_check", "refuse_writes").words()

RELEASE, OTHER = "1.5.9", "1.5.7"
#: What is imported of each package, and another version of it.
VERSIONS = {"palace_store": (NOW, NEXT), "chromadb": (RELEASE, OTHER)}
#: How the library, or chromadb, is replaced, and what the server then says is installed of it.
HOW: dict[str, tuple[Callable[[Site], object], str]] = {
    "upgraded": (lambda site: site.upgrade(NEXT), NEXT),
    "downgraded": (lambda site: site.upgrade("0.0.1"), "0.0.1"),
    "edited": (lambda site: site.edit(), NOW),
    "twice": (lambda site: site.info(NEXT).mkdir(), f"is installed twice ({NOW}, {NEXT})"),
    "missing": (lambda site: shutil.rmtree(site.info(NOW)), "is missing"),
    "gone": (lambda site: shutil.rmtree(site.directory), "cannot be read"),
    "chromadb upgraded": (lambda site: site.upgrade("2.0.0", "chromadb"), "2.0.0"),
    "chromadb twice": (
        lambda site: site.info(OTHER, "chromadb").mkdir(),
        f"is installed twice ({OTHER}, {RELEASE})",
    ),
    "chromadb missing": (
        lambda site: shutil.rmtree(site.info(RELEASE, "chromadb")),
        "is missing",
    ),
    "chromadb built anew": (
        lambda site: (site.info(RELEASE, "chromadb") / "RECORD").write_text("chromadb/x.py,,\n"),
        RELEASE,
    ),
}


def server_on(
    tmp_path: Path, fixes: list[str], *, packaged: bool = True, chromadb: bool = False
) -> Server:
    site = Site(tmp_path / "site", packaged=packaged)
    if chromadb:
        site.bring_chromadb(RELEASE)
    server = Server(RELEASE, site, tmp_path / "palace", "--fixes", " ".join([*REST, *fixes]))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("a text")
    CHANGING["mine"]["folder"] = str(folder)
    return server


async def prepared(client: Client) -> None:
    """Walk all tools before anything is replaced."""
    assert {tool.name for tool in (await client.list_tools()).tools} == {
        "status",
        *READING,
        *CHANGING,
    }
    await ok(client, "kg_add", subject="Ada", predicate="keeps", object="bees")
    await ok(client, "add_drawer", content="Ada keeps bees")
    await ok(client, "memory_store", content="Ada keeps bees")
    for tool, arguments in READING.items():
        await ok(client, tool, **arguments)


@pytest.mark.parametrize(
    "package", ["palace_store", pytest.param("chromadb", marks=pytest.mark.nightly)]
)
@pytest.mark.parametrize(
    ("fixes", "refuses"),
    [
        ([], []),
        (["stale_check"], [*READING, *CHANGING]),
        (["refuse_writes"], [*CHANGING]),
        (["stale_check", "refuse_writes"], [*CHANGING]),
    ],
    ids=["none", "A", "B", "A+B"],
)
def test_each_configuration_refuses_what_it_should(
    fixes: list[str], refuses: list[str], package: str, tmp_path: Path
) -> None:
    server = server_on(tmp_path, fixes, chromadb=True)
    running = {name: now for name, (now, _) in VERSIONS.items()}
    installed = {**running, package: VERSIONS[package][1]}

    async def story(client: Client) -> None:
        await prepared(client)
        before = await ok(client, "status")
        server.site.upgrade(installed[package], package)
        for tool, arguments in {**READING, **CHANGING}.items():
            if tool not in refuses:
                continue
            told = await refused(client, tool, **arguments)
            assert (told["running"], told["installed"]) == (running, installed)
            assert told["action_required"] == "restart_mcp_server"
            for name in VERSIONS:
                assert f"{name} {running[name]}" in told["sentence"]
                assert f"{name} {installed[name]}" in told["sentence"]
        status = await ok(client, "status")
        assert status["stale"]
        assert status["action_required"] == "restart_mcp_server"
        assert (status["running"], status["installed"]) == (running, installed)
        kept = ("drawers", "triples", "memories")
        assert [status[what] for what in kept] == [before[what] for what in kept]
        for tool, arguments in {**READING, **CHANGING}.items():
            if tool not in refuses:
                await ok(client, tool, **arguments)

    play(server, story)


@pytest.mark.parametrize("how", HOW)
def test_whatever_happens_to_the_library_nothing_is_written(how: str, tmp_path: Path) -> None:
    package = "chromadb" if how.startswith("chromadb") else "palace_store"
    server = server_on(
        tmp_path,
        ["stale_check", "refuse_writes"],
        packaged=how != "edited",
        chromadb=package == "chromadb",
    )
    happens, installed = HOW[how]

    async def story(client: Client) -> None:
        await prepared(client)
        before = await ok(client, "status")
        happens(server.site)
        for tool, arguments in CHANGING.items():
            told = await refused(client, tool, **arguments)
            assert told["installed"][package].startswith(installed), told
            assert f"{package} {installed}" in told["sentence"]
            assert not re.search(r"(missing|\)) is installed", told["sentence"]), told
        for tool, arguments in READING.items():
            await ok(client, tool, **arguments)
        after = await ok(client, "status")
        assert after["stale"]
        kept = ("drawers", "triples", "memories")
        assert [after[what] for what in kept] == [before[what] for what in kept]

    play(server, story)


def test_an_upgrade_that_is_taken_back_is_forgotten(tmp_path: Path) -> None:
    server = server_on(tmp_path, ["stale_check", "refuse_writes"])

    async def story(client: Client) -> None:
        await prepared(client)
        kept = tmp_path / "kept"
        shutil.copytree(server.site.directory, kept)
        server.site.upgrade()
        await refused(client, "add_drawer", content="x")
        shutil.rmtree(server.site.directory)
        shutil.copytree(kept, server.site.directory)
        await ok(client, "add_drawer", content="x")

    play(server, story)


def test_a_build_with_a_local_version_is_no_other_than_itself(tmp_path: Path) -> None:
    """The version it was installed as is not the one that its code says."""
    server = server_on(tmp_path, ["stale_check", "refuse_writes"], chromadb=True)
    local = f"{RELEASE}+local1"
    server.site.info(RELEASE, "chromadb").rename(server.site.info(local, "chromadb"))

    async def story(client: Client) -> None:
        await prepared(client)
        status = await ok(client, "status")
        assert not status["stale"]
        assert status["running"] == status["installed"] == {"palace_store": NOW, "chromadb": local}
        server.site.info(local, "chromadb").rename(server.site.info(RELEASE, "chromadb"))
        told = await refused(client, "add_drawer", content="x")
        assert (told["running"]["chromadb"], told["installed"]["chromadb"]) == (local, RELEASE)

    play(server, story)
