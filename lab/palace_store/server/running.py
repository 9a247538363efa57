"""Running the server: the palace is opened, served over one transport, and closed in good order."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

import anyio
import chromadb
from mcp.shared.message import SessionMessage

import palace_store
from palace_store.client import running_version
from palace_store.embedding_config import chosen
from palace_store.errors import UnusablePalaceError
from palace_store.fixes import Fixes
from palace_store.installed import Watched
from palace_store.server.gate import Gate
from palace_store.server.handover import Handover
from palace_store.server.memories import Memories
from palace_store.server.memory import Memory
from palace_store.server.restart import Restart
from palace_store.server.schemas import refuse_newer
from palace_store.server.service import PalaceServer
from palace_store.server.wire import Incoming, Wire
from palace_store.state import place_of, read_state
from palace_store.sync import INTERVAL_S, RECALL_TIMEOUT_S
from palace_store.version_guard import refuse_if_older


def versions() -> str:
    """Return what would be served, in words."""
    return f"palace_store {palace_store.__version__}, chromadb {chromadb.__version__}"


def check(options: argparse.Namespace, packages: Sequence[Watched]) -> None:
    """Do what `serve` does until the palace is opened, and change nothing.

    Raises what `serve` raises, `StaleServerError` if it would be stale at once, and what the first
    call would meet that needs a file with a newer schema.
    """
    gate, memory = _made(options, packages)
    if memory.fixes.has("version_guard"):
        refuse_if_older(running_version(), read_state(memory.palace).chromadb, str(memory.palace))
    refuse_newer(memory.palace)
    if gate.looks or options.restart is not None:
        gate.refuse_stale()


def serve(options: argparse.Namespace, packages: Sequence[Watched], left: Handover) -> None:
    """Serve one palace until the client leaves.

    `packages` are watched since before they were imported; `left` is from the program before this.

    Raises `PalaceError` for a palace that cannot be used, `ValueError` for an unknown fix.
    """
    gate, memory = _made(options, packages)
    try:
        _open(memory)
        server = PalaceServer(memory, gate, restarts=left.restarts)
        if options.http:
            server.run("streamable-http", host=options.host, port=options.port)
            return
        memory.triples.install_shutdown_handler()
        restarts = options.restart if memory.fixes.has("self_restart") else None
        anyio.run(_serve_pipe, server, left, restarts)
    finally:
        memory.close()


def _made(options: argparse.Namespace, packages: Sequence[Watched]) -> tuple[Gate, Memory]:
    fixes = Fixes.all() if options.fixes is None else Fixes.parse(options.fixes.split())
    for module, package in zip((palace_store, chromadb), packages, strict=True):
        package.imported(str(module.__version__))
    gate = Gate(fixes, packages)
    return gate, Memory(
        options.palace,
        chosen(options.model, options.dimension, options.model_config),
        fixes=fixes,
        config=options.model_config,
        sync_threshold=options.sync_threshold,
        batch_size=options.batch_size,
        memories=Memories(
            place_of(options.palace),
            fixes=fixes,
            remote=options.remote or "",
            key_file=options.remote_key_file,
            recall_timeout_s=options.recall_timeout or RECALL_TIMEOUT_S,
            interval_s=options.sync_interval or INTERVAL_S,
            may_sync=gate.lets_change,
        ),
    )


def _open(memory: Memory) -> None:
    try:
        memory.open()
    except OSError as error:
        raise UnusablePalaceError(
            f"{memory.palace} cannot be a palace ({error.strerror or error}): name another folder"
        ) from error


async def _serve_pipe(server: PalaceServer, left: Handover, patience_s: float | None) -> None:
    """Serve over stdio, with `patience_s` able to restart in place."""
    pipe = os.dup(1)
    os.dup2(2, 1)  # what anything else prints is no message

    wire = Wire(left, fd_out=pipe)
    left.waiting = False  # from here on it is answered
    if patience_s is not None:
        server.restart = Restart(wire, server.memory.close, pipe=pipe, patience_s=patience_s)
    to_server, from_client = anyio.create_memory_object_stream[Incoming](0)
    to_client, from_server = anyio.create_memory_object_stream[SessionMessage](0)
    sdk = server._lowlevel_server  # noqa: SLF001  (the SDK has no other way to bring one's own pipe)
    async with anyio.create_task_group() as tasks:
        if server.restart is not None:
            server.restart.serve_in(tasks)
        tasks.start_soon(wire.read, to_server)
        async with anyio.create_task_group() as writing:  # to the last answer
            writing.start_soon(wire.write, from_server)
            await sdk.run(from_client, to_client, sdk.create_initialization_options())
        tasks.cancel_scope.cancel()
