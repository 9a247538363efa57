"""A memory server in a child, with a library of its own to import, and the SDK's client for it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp_types import CallToolResult

import palace_store
from palace_lab.environments import ensure

NOW = palace_store.__version__
NEXT = "0.2.0"
#: A palace's own settings of a test: small vectors, a flush soon.
SMALL = ("--dimension", "16", "--sync-threshold", "10", "--batch-size", "5")
DEADLINE_S = 300.0
_SAYS = re.compile(r'^__version__ = "[^"]+"$', re.MULTILINE)


class Site:
    """A folder that a server imports the library from, as if an installer had put it there."""

    def __init__(self, directory: Path, *, packaged: bool = True) -> None:
        self.directory = directory
        self.package = directory / "palace_store"
        source = Path(str(palace_store.__file__)).parent
        shutil.copytree(source, self.package, ignore=shutil.ignore_patterns("__pycache__"))
        if packaged:
            self.info(NOW).mkdir()
            (self.info(NOW) / "RECORD").write_text("palace_store/__init__.py,,\n")

    def bring_chromadb(self, release: str) -> None:
        """Let a server import chromadb from here too: links to the real one's parts."""
        (real,) = ensure(release).python.parent.parent.glob("lib/*/site-packages/chromadb")
        ours = self.directory / "chromadb"
        ours.mkdir()
        for part in real.iterdir():
            if part.name != "__pycache__":
                (ours / part.name).symlink_to(part)
        info = f"chromadb-{release}.dist-info"
        shutil.copytree(real.with_name(info), self.directory / info)

    def info(self, version: str, package: str = "palace_store") -> Path:
        return self.directory / f"{package}-{version}.dist-info"

    def upgrade(self, version: str = NEXT, package: str = "palace_store") -> None:
        """Do what an installer has done when it is through."""
        (old,) = self.directory.glob(f"{package}-*.dist-info")
        init = self.directory / package / "__init__.py"
        text = _SAYS.sub(f'__version__ = "{version}"', init.read_text())
        init.unlink()  # it may be a link to a file that others use
        init.write_text(text)
        old.rename(self.info(version, package))

    def edit(self, name: str = "triples.py") -> None:
        """Change code under the same version number."""
        path = self.package / name
        path.write_text(path.read_text() + "\n# changed\n")


class Server:
    """How the server of one test is started: on which palace, from which site, with what words."""

    def __init__(self, release: str, site: Site, palace: Path, *words: str) -> None:
        self.python = ensure(release).python
        self.site = site
        self.palace = palace
        self.words = ["-m", "palace_store.server", "--palace", str(palace), *SMALL, *words]
        self.environ = {"PYTHONPATH": str(site.directory)}

    @property
    def log(self) -> Path:
        return self.palace.with_name("server.log")

    @contextmanager
    def client(self, mode: str = "auto") -> Iterator[Client]:
        started = StdioServerParameters(
            command=str(self.python), args=self.words, env=self.environ, cwd=self.site.directory
        )
        with self.log.open("a") as log:
            yield Client(stdio_client(started, errlog=log), mode=mode)

    def run(self, *words: str, file_kib_max: int | None = None) -> subprocess.CompletedProcess[str]:
        """Run the command to its end, with nothing to read; no file gets longer than told."""
        command = [str(self.python), "-m", "palace_store.server", *words]
        if file_kib_max is not None:  # counted in halves of a KiB
            command = ["/bin/sh", "-c", f'ulimit -f {2 * file_kib_max}; exec "$@"', "sh", *command]
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
            env=self.environ,
            cwd=self.site.directory,
        )


def play(
    server: Server, story: Callable[[Client], Coroutine[Any, Any, None]], mode: str = "auto"
) -> None:
    """Run a story with a client of its own, for a bounded time."""

    async def run() -> None:
        with anyio.fail_after(DEADLINE_S), server.client(mode) as client:
            async with client:
                await story(client)

    anyio.run(run)


async def ok(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool that must succeed."""
    answer = await client.call_tool(tool, arguments)
    assert not answer.is_error, said(answer)
    assert answer.structured_content is not None
    return answer.structured_content


async def refused(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool that must refuse: one sentence, no traceback, nothing changed."""
    answer = await client.call_tool(tool, arguments)
    assert answer.is_error, answer
    told: dict[str, Any] = answer.structured_content or {}
    assert told["sentence"] == said(answer)
    assert "\n" not in told["sentence"]
    assert "Traceback" not in told["sentence"]
    assert told["effect"] == "none", told
    return told


def said(answer: CallToolResult) -> str:
    return " ".join(getattr(part, "text", "") for part in answer.content)
