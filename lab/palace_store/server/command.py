"""The command `palace-server`: serves one palace over stdio, or over HTTP with `--http`.

Standard output belongs to the protocol. A palace that cannot be served is told in one sentence on
standard error, before anything is served, with exit code 2; with 3 if it is the store itself or
its disk that says no. With `--check` it is only told whether it could be, as far as that can be
said without opening the palace; nothing is changed.
"""

from __future__ import annotations

import argparse
import socket
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

from palace_store.errors import PalaceError
from palace_store.server.gate import watched
from palace_store.server.handover import Handover
from palace_store.shell import INTERRUPTED, USAGE, Parser, add_model

TROUBLE = 3  # the store itself, or its disk, says no
_YEAR_S = 366 * 86_400.0  # more than anybody waits, and no more than a clock can be asked for
RESTART_S = 60.0  # our choice: as long as a call waits for a lock


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= _YEAR_S:
        raise ValueError(text)
    return value


_seconds.__name__ = "number of seconds"  # how argparse calls it


def parser() -> argparse.ArgumentParser:
    """Return what understands the command line."""
    made = Parser(prog="palace-server", description="Serve one palace to MCP clients.")
    made.add_argument("--palace", required=True, metavar="FOLDER", help="made if it is not there")
    made.add_argument("--http", action="store_true", help="streamable HTTP instead of stdio")
    made.add_argument(
        "--host",
        default="127.0.0.1",
        help="default: %(default)s, which answers only requests to its own name; another address "
        "answers whatever Host they name, to whoever reaches it: keep strangers off by a firewall",
    )
    made.add_argument("--port", type=int, default=8000, help="default: %(default)s; path: /mcp")
    add_model(made, required=False)
    made.add_argument(
        "--model-config",
        type=Path,
        metavar="FILE",
        help="JSON that names the model in their place; nothing is written when it names another",
    )
    made.add_argument("--sync-threshold", type=int, default=1000, help="chromadb's, in drawers")
    made.add_argument("--batch-size", type=int, default=100, help="chromadb's, in drawers")
    made.add_argument("--fixes", metavar="WORDS", help="which fixes are on; default: all of them")
    made.add_argument(
        "--restart",
        nargs="?",
        type=_seconds,
        const=RESTART_S,
        metavar="SECONDS",
        help="when stale, start anew on the same pipe (stdio), after waiting so long for calls "
        "under way; default: %(const)s",
    )
    made.add_argument("--remote", metavar="URL", help="keep memories and this remote alike")
    made.add_argument(
        "--remote-key-file", type=Path, metavar="FILE", help="its key, read for every request"
    )
    made.add_argument(
        "--recall-timeout", type=_seconds, metavar="SECONDS", help="longest wait for it; default: 8"
    )
    made.add_argument(
        "--sync-interval", type=_seconds, metavar="SECONDS", help="between rounds; default: 30"
    )
    made.add_argument("--check", action="store_true", help="say why it could not serve, and end")
    made.add_argument("--version", action="store_true", help="say what would be served, and end")
    return made


def main(words: Sequence[str] | None = None) -> int:
    """Serve until the client leaves; returns the exit code."""
    left = Handover.received()
    try:
        code, why = _ended(list(sys.argv[1:] if words is None else words), left)
    except BaseException:
        left.refuse("it did not start: standard error says why")
        raise
    if why:
        print(f"palace-server: {why}", file=sys.stderr)
    left.refuse(why or "it ended")
    return code


def _ended(given: list[str], left: Handover) -> tuple[int, str]:
    """Do what the words ask for; returns the exit code, and why nothing was served."""
    if "--version" in given:
        given += ["--palace", "."]  # the only word that is required, and not needed for this
    options = parser().parse_args(given)
    try:
        packages = watched()
        if not options.version and (trouble := _unservable(options)):
            return USAGE, trouble
        from palace_store.server.running import check, serve, versions  # noqa: PLC0415  (may miss)

        if options.version:
            print(versions())
        elif options.check:
            check(options, packages)
        else:
            serve(options, packages, left)
    except ModuleNotFoundError as error:
        where = f"{error.name} is not installed in {sys.prefix}"
        return USAGE, f"{where}: install chromadb and mcp there"
    except (PalaceError, ValueError) as error:
        return USAGE, " ".join(str(error).split())
    except KeyboardInterrupt:
        return INTERRUPTED, ""
    except Exception as error:
        if not _of_the_store(error):
            raise
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        todo = "see that its disk has room and that it is whole, then start again"
        return TROUBLE, f"{options.palace} could not be served ({said}): {todo}"
    return 0, ""


def _of_the_store(error: Exception) -> bool:
    """Tell whether chromadb, SQLite or the file system said no, which is no fault of this code."""
    from_chromadb = any(each.__module__.startswith("chromadb.") for each in type(error).__mro__)
    return from_chromadb or isinstance(error, (OSError, sqlite3.Error))


def _unservable(options: argparse.Namespace) -> str:
    """Return why these options cannot be served, or "" if they can.

    Raises `PalaceInputError` for an address of a remote that is none. It is asked before chromadb
    and the SDK are imported, which takes seconds.
    """
    key_file = options.remote_key_file
    if key_file is not None and not options.remote:
        return "--remote-key-file is the key of a remote: say which one with --remote"
    if key_file is not None and not key_file.is_file():
        return f"{key_file} is no file: write the key of {options.remote} into it"
    if options.remote:
        from palace_store.sync.address import address_of  # noqa: PLC0415  (may miss)

        address_of(options.remote)
    if not options.http:
        return ""
    if options.restart is not None:
        return "--restart keeps a pipe open, and --http has none: choose one of them"
    host, port = options.host, options.port
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        said = getattr(error, "strerror", "") or str(error)
        return f"cannot listen on {host}:{port} ({said}): choose another with --host and --port"
    return ""
