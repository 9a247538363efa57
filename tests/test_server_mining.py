"""Folders that a server is asked to mine, and names that are none it can write down."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mcp import Client

sys.path.append(str(Path(__file__).parent / "entries"))
from server_bench import Server, Site, ok, play, refused

pytestmark = [pytest.mark.slow, pytest.mark.s0]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def server(site: Site, tmp_path: Path) -> Server:
    return Server("1.5.9", site, tmp_path / "palace")


LONG = "/" + "a" * 5000


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("~nosuchuser/x", "~nosuchuser/x starts with a home folder that cannot be found"),
        (LONG, "(File name too long)"),
        pytest.param(f"~{LONG}", "(File name too long)", marks=pytest.mark.nightly),
        (f"~{LONG[1:]}", "cannot be found"),
    ],
    ids=["no user", "long", "long at home", "long user"],
)
def test_a_path_that_names_nothing_is_refused_in_a_whole_sentence(
    folder: str, expected: str, server: Server
) -> None:
    async def story(client: Client) -> None:
        told = await refused(client, "mine", folder=folder)
        assert expected in told["sentence"]
        assert told["error"] == "PalaceInputError"
        assert "nothing was changed" in told["sentence"]
        assert not told["sentence"].endswith("…")

    play(server, story)
    assert "Traceback" not in server.log.read_text()


def test_a_name_that_is_no_text_is_passed_over_and_told(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    within = os.fsencode(folder) + b"/cave\xff/"
    os.makedirs(within)  # noqa: PTH103  (a path of bytes)
    (folder / "ok.txt").write_text("fine text")
    long = "/".join(["n" * 200] * 2)
    (folder / long).parent.mkdir()
    (folder / long).write_text("in a long name")
    (folder / f"{long}-binary").write_bytes(b"\0")
    for name in (os.fsencode(folder) + b"/caf\xe9.txt", within + b"plain.txt"):
        with open(name, "wb") as file:  # noqa: PTH123  (as above)
            file.write(b"menu")
    with open(os.fsencode(folder) + b"/caf\xe9.bin", "wb") as file:  # noqa: PTH123  (as above)
        file.write(b"\xff\xfe\0")

    async def story(client: Client) -> None:
        told = await ok(client, "mine", folder=str(folder))
        assert (told["files"], told["drawers"], told["new"]) == (2, 2, 2)
        assert told["passed_over"] == 4
        assert set(told["for_example"]) == {
            "caf\\xe9.txt",
            "caf\\xe9.bin",
            "cave\\xff/plain.txt",
            f"{long}-binary",
        }
        assert {**told["for_example"]}.pop(f"{long}-binary") == "no text: it has a NUL"
        assert list(told["for_example"].values()).count("its name is no UTF-8 text") == 3
        (found,) = (await ok(client, "search", query="fine text", n=1))["found"]
        assert found["content"] == "fine text"
        (folder / "ok.txt").unlink()
        (folder / long).unlink()
        assert (
            "4 were passed over" in (await refused(client, "mine", folder=str(folder)))["sentence"]
        )

    play(server, story)
    assert "Traceback" not in server.log.read_text()


KEEPER = """
import subprocess, sys
from palace_store.embedding import HashEmbedder
from palace_store.fixes import Fixes
from palace_store.server.memory import Memory

memory = Memory(sys.argv[1], HashEmbedder("m", dimension=2), fixes=Fixes.all(), memories=None)
memory.drawers.open()
looked = memory.drawers.get

def look(ids):
    found = looked(ids)
    peer = subprocess.run([sys.executable, "-c", sys.argv[2], sys.argv[1]], stderr=subprocess.PIPE)
    print("LeaseTimeoutError" if b"LeaseTimeoutError" in peer.stderr else peer.stderr.decode())
    return found

memory.drawers.get = look
print(memory.keep_new(["a", "b"], ["one", "two"], [{}, {}]))
"""
PEER = """
import sys
from palace_store.drawers import DrawerStore
DrawerStore(sys.argv[1], lease_timeout_s=0.2).add(["a"], [[1.0, 0.0]], documents=["one"])
"""


def test_nobody_else_makes_a_drawer_that_is_counted_as_new(server: Server) -> None:
    done = subprocess.run(
        [server.python, "-c", KEEPER, str(server.palace), PEER],
        env=server.environ, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout.split()) == (0, ["LeaseTimeoutError", "2"]), done
