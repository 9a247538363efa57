"""The memory server and the model of its vectors: another one is refused, a text is one drawer."""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client

sys.path.append(str(Path(__file__).parent / "entries"))
from server_bench import Server, Site, ok, play, refused

from palace_store.embedding import HashEmbedder, Identity
from palace_store.embedding_config import write_configuration
from palace_store.fixes import Fixes

pytestmark = [pytest.mark.slow, pytest.mark.s3]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def server(site: Site, tmp_path: Path) -> Server:
    return Server("1.5.9", site, tmp_path / "palace")


def test_a_server_with_another_model_is_refused_and_told_both(site: Site, tmp_path: Path) -> None:
    palace = tmp_path / "palace"

    async def first(client: Client) -> None:
        await ok(client, "add_drawer", content="Ada keeps bees", wing="garden")

    async def other(client: Client) -> None:
        for tool, arguments in (
            ("add_drawer", {"content": "Bob keeps time"}),
            ("search", {"query": "bees"}),
        ):
            told = await refused(client, tool, **arguments)
            assert told["error"] == "OtherModelError"
            assert "stand-in-a" in told["sentence"]
            assert "stand-in-b" in told["sentence"]
        assert (await ok(client, "status"))["drawers"] == 1
        await ok(client, "diary_write", entry="a collection of its own")
        await ok(client, "kg_add", subject="Bob", predicate="keeps", object="time")

    async def again(client: Client) -> None:
        (found,) = (await ok(client, "search", query="Ada keeps bees"))["found"]
        assert found["content"] == "Ada keeps bees"
        await refused(client, "search", query="anything", collection="diary")

    play(Server("1.5.9", site, palace), first)
    play(Server("1.5.9", site, palace, "--model", "stand-in-b"), other)
    play(Server("1.5.9", site, palace), again)


def test_without_the_fix_two_models_share_a_collection(site: Site, tmp_path: Path) -> None:
    palace, off = tmp_path / "palace", Fixes.all().without("embedding_identity").words()
    words = ("--fixes", " ".join(off))

    async def add(client: Client) -> None:
        count = (await ok(client, "status"))["drawers"]
        await ok(client, "add_drawer", content=f"text {count}")
        assert (await ok(client, "status"))["drawers"] == count + 1

    play(Server("1.5.9", site, palace, *words), add)
    play(Server("1.5.9", site, palace, *words, "--model", "stand-in-b"), add)


OTHERS = Fixes.all().without("embedding_identity")


@pytest.mark.parametrize(
    ("release", "fixes"),
    [
        pytest.param("0.6.3", OTHERS, marks=pytest.mark.nightly, id="0.6.3"),
        pytest.param("1.0.21", OTHERS, marks=pytest.mark.nightly, id="1.0.21"),
        pytest.param("1.5.9", OTHERS, id="1.5.9"),
        pytest.param("1.5.9", Fixes.none(), marks=pytest.mark.nightly, id="1.5.9-no-fix"),
    ],
)
def test_a_search_over_rows_of_two_models_says_so(
    release: str, fixes: Fixes, site: Site, tmp_path: Path
) -> None:
    """Without any fix the other server tells nobody that it wrote: ours sees it when it writes."""
    palace = tmp_path / "palace"
    words = ("--fixes", " ".join(fixes.words()), "--model", "stand-in-b")
    ours, other = Server(release, site, palace), Server(release, site, palace, *words)

    async def told(client: Client, **arguments: Any) -> None:
        said = await refused(client, "search", **arguments)
        assert said["error"] == "OtherModelError"
        assert "into the collection 'drawers' of stand-in/stand-in-a" in said["sentence"]
        assert f"palace_store.embedding_reset {palace} --model stand-in-a" in said["sentence"]

    async def story(client: Client) -> None:
        await ok(client, "add_drawer", content="Ada keeps bees")
        await ok(client, "add_drawer", content="Bea keeps bees, too")
        await ok(client, "search", query="Ada keeps bees", n=1)
        with other.client() as reached:
            async with reached as newcomer:
                await ok(newcomer, "add_drawer", content="Bob keeps time")
        if fixes.has("generation"):
            await told(client, query="Bob keeps time", n=3)
            await told(client, query="Ada keeps bees", n=1)  # its answer has no such row
        await ok(client, "add_drawer", content="Cy keeps quiet")
        await told(client, query="Cy keeps quiet", n=1)

    async def again(client: Client) -> None:
        await told(client, query="Ada keeps bees", n=1)

    play(ours, story)
    play(ours, again)


NFC, NFD = "caf\u00e9 at nine", "cafe\u0301 at nine"
NO_CLAIM = ("--fixes", " ".join(Fixes.all().without("embedding_claim").words()))


def test_a_text_is_one_drawer_in_whichever_form_of_unicode(site: Site, tmp_path: Path) -> None:
    """Also where a server without the fix has stored it, under an id of its own form."""
    palace = tmp_path / "palace"
    stored = []

    async def before(client: Client) -> None:
        stored.append(await ok(client, "add_drawer", content=NFD, wing="tea"))
        assert set(stored[0]) == {"id"}
        stored.append(await ok(client, "add_drawer", content="plain", wing="tea"))

    async def story(client: Client) -> None:
        for text, kept in ((NFC, stored[0]), (NFD, stored[0]), ("plain", stored[1])):
            again = await ok(client, "add_drawer", content=text, wing="tea")
            assert again == {**kept, "new": False}
        first = await ok(client, "add_drawer", content=NFC, wing="coffee")
        assert first["new"]
        assert await ok(client, "add_drawer", content=NFD, wing="coffee") == {**first, "new": False}
        assert await ok(client, "add_drawer", content=NFC, id="mine") == {"id": "mine", "new": True}
        assert await ok(client, "add_drawer", content=NFD, id="mine") == {
            "id": "mine",
            "new": False,
        }
        told = await refused(client, "add_drawer", content="another", id="mine")
        assert "holds another text" in told["sentence"]
        assert (await ok(client, "status"))["drawers"] == 4

    play(Server("1.5.9", site, palace, *NO_CLAIM), before)
    play(Server("1.5.9", site, palace), story)


def test_of_two_servers_that_remember_one_text_one_is_told_that_it_is_new(
    site: Site, tmp_path: Path
) -> None:
    server = Server("1.5.9", site, tmp_path / "palace")
    new: dict[str, list[bool]] = {}

    async def remember(client: Client, form: str) -> None:
        for number in range(20):
            text = unicodedata.normalize(form, f"{NFC} {number}")
            new.setdefault(str(number), []).append(
                (await ok(client, "add_drawer", content=text))["new"]
            )

    async def both(client: Client) -> None:
        with server.client() as reached:
            async with reached as other, anyio.create_task_group() as tasks:
                tasks.start_soon(remember, client, "NFC")
                tasks.start_soon(remember, other, "NFD")
        assert (await ok(client, "status"))["drawers"] == 20

    play(server, both)
    assert {tuple(sorted(told)) for told in new.values()} == {(False, True)}


def test_a_server_refuses_to_write_when_its_file_names_another_model(
    site: Site, tmp_path: Path
) -> None:
    palace, file = tmp_path / "palace", tmp_path / "model.json"
    words = ("--model-config", str(file))
    writes: list[tuple[str, dict[str, Any]]] = [
        ("add_drawer", {"content": "Bob keeps time"}),
        ("diary_write", {"entry": "x"}),
        ("mine", {"folder": str(site.package / "sync")}),
    ]

    def configure(model: str) -> None:
        write_configuration(file, HashEmbedder(model, 16).identity)

    async def both_named(client: Client) -> None:
        for tool, arguments in writes:
            told = await refused(client, tool, **arguments)
            assert told["error"] == "OtherModelError"
            assert f"{file} configures stand-in/stand-in-b" in told["sentence"]
            assert "was started with stand-in/stand-in-a" in told["sentence"]

    async def story(client: Client) -> None:
        await ok(client, "add_drawer", content="Ada keeps bees")
        configure("stand-in-b")
        await both_named(client)
        (found,) = (await ok(client, "search", query="Ada keeps bees"))["found"]
        assert found["content"] == "Ada keeps bees"
        await ok(client, "kg_add", subject="Bob", predicate="keeps", object="time")
        file.unlink()
        told = await refused(client, "add_drawer", content="Bob keeps time")
        assert "cannot be read" in told["sentence"]
        configure("stand-in-a")
        await ok(client, "add_drawer", content="Bob keeps time")
        assert (await ok(client, "status"))["drawers"] == 2

    async def careless(client: Client) -> None:
        configure("stand-in-b")
        await ok(client, "add_drawer", content="Cy keeps quiet")

    configure("stand-in-a")
    play(Server("1.5.9", site, palace, *words), story)
    off = Fixes.all().without("embedding_config").words()
    play(Server("1.5.9", site, palace, *words, "--fixes", " ".join(off)), careless)


@pytest.mark.parametrize(
    ("identity", "words", "expected"),
    [
        (None, [], "cannot be read"),
        (HashEmbedder("b", 16).identity, ["--model", "a"], "leave one of them away"),
        (HashEmbedder("b", 16).identity, ["--dimension", "8"], "leave one of them away"),
        (Identity("other", "b", 16, normalised=True, revision="1"), [], "has stand-ins only"),
    ],
)
def test_a_file_that_names_no_model_of_this_server_is_refused_before_it_serves(
    identity: Identity | None, words: list[str], expected: str, server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "model.json"
    if identity is not None:
        write_configuration(file, identity)
    ended = server.run("--palace", str(server.palace), "--model-config", str(file), *words)
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert expected in line
    assert not server.palace.exists()
