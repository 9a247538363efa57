"""S0, fix C: what a server leaves to the process that it becomes.

A restart replaces the program and keeps the process, so the client's pipe stays open. What the old
program has read of it and not answered goes with it in a memory file: the handshake (there is none
in the newer protocol), whole lines, and what was read of a line that has not ended yet.

A successor that cannot serve after all answers what it was left with an error before it ends.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from palace_store.server.lines import INTERNAL_ERROR, error_line, request_id

#: Names the descriptor of the memory file; set only between an old program and its successor.
VARIABLE = "PALACE_SERVER_HANDOVER"
_READ_BYTES = 64 * 1024


@dataclass
class Handover:
    """What is left to a successor; a first server is left nothing."""

    handshake: list[bytes] = field(default_factory=list)  # answered already: told again, not asked
    lines: list[bytes] = field(default_factory=list)  # to be answered
    rest: bytes = b""  # read ahead, behind all of that
    restarts: int = 0
    waiting: bool = field(default=False, compare=False)  # for somebody who answers

    def dump(self) -> bytes:
        """Return this as bytes for `load`."""
        plain = {
            "handshake": [line.decode("latin-1") for line in self.handshake],
            "lines": [line.decode("latin-1") for line in self.lines],
            "rest": base64.b64encode(self.rest).decode("ascii"),
            "restarts": self.restarts,
        }
        return json.dumps(plain).encode()

    @classmethod
    def load(cls, data: bytes) -> Handover:
        """Read back what `dump` wrote."""
        plain = json.loads(data)
        return cls(
            [line.encode("latin-1") for line in plain["handshake"]],
            [line.encode("latin-1") for line in plain["lines"]],
            base64.b64decode(plain["rest"]),
            int(plain["restarts"]),
        )

    @classmethod
    def received(cls) -> Handover:
        """Return what the program before this one left, and let go of it."""
        number = os.environ.pop(VARIABLE, "")
        if not number:
            return cls()
        with os.fdopen(int(number), "rb") as file:
            file.seek(0)
            left = cls.load(file.read())
        left.waiting = True
        return left

    def refuse(self, why: str) -> None:
        """Answer every request with an error, also those still in the pipe, if nobody else does.

        Whoever takes them over sets `waiting` to False; a first server has none.
        """
        if not self.waiting:
            return
        self.waiting = False
        rest = self.rest
        try:
            while select.select([0], [], [], 0)[0] and (read := os.read(0, _READ_BYTES)):
                rest += read
            whole, _, _ = rest.rpartition(b"\n")
            told = (
                f"the program that replaced this server cannot serve ({why}); nothing was changed: "
                "see to that and restart the MCP server (action_required: restart_mcp_server)"
            )
            for line in [*self.lines, *whole.split(b"\n")]:
                if (request := request_id(line)) is not None:
                    write_all(1, error_line(request, INTERNAL_ERROR, told))
        except BrokenPipeError:
            return  # nobody listens any more


def write_all(to: int, data: bytes) -> None:
    """Write every byte, in however many parts the pipe takes them."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(to, rest) :]
        except BlockingIOError:  # whoever made the pipe does not want to wait for it
            select.select([], [to], [])


def command() -> list[str]:
    """Return the command line that starts this server anew, as it was started."""
    return [sys.executable, *sys.orig_argv[1:]]


def become(words: list[str], left: Handover, pipe: int) -> NoReturn:
    """Replace the program of this process; raises OSError if that cannot be done.

    The new one has `pipe` as its standard output. Nothing but standard streams and the memory file
    is inherited: locks go with their descriptors.
    """
    file = os.memfd_create("handover", 0)
    with os.fdopen(os.dup(file), "wb") as out:
        out.write(left.dump())
    for entry in os.listdir("/proc/self/fd"):  # noqa: PTH208  (names are all there is)
        number = int(entry)
        if number > 2 and number != file and Path(f"/proc/self/fd/{entry}").exists():  # noqa: PLR2004
            fcntl.fcntl(number, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    os.dup2(pipe, 1)
    try:
        os.execve(words[0], words, {**os.environ, VARIABLE: str(file)})  # noqa: S606  (no shell)
    finally:
        os.dup2(2, 1)  # again what anything else prints is no message
        os.close(file)
