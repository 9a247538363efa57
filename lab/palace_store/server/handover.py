"""S0, fix C: what a server leaves to the process that it becomes.

A restart replaces the program and keeps the process, so the client's pipe stays open. What the old
program has read of it and not answered goes with it in a memory file: the handshake (there is none
in the newer protocol), whole lines, and what was read of a line that has not ended yet.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

#: Names the descriptor of the memory file; set only between an old program and its successor.
VARIABLE = "PALACE_SERVER_HANDOVER"


@dataclass
class Handover:
    """What is left to a successor; a first server is left nothing."""

    handshake: list[bytes] = field(default_factory=list)  # answered already: told again, not asked
    lines: list[bytes] = field(default_factory=list)  # to be answered
    rest: bytes = b""  # read ahead, behind all of that
    restarts: int = 0

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
            return cls.load(file.read())


def command() -> list[str]:
    """Return the command line that starts this server anew, as it was started."""
    return [sys.executable, *sys.orig_argv[1:]]


def become(words: list[str], left: Handover) -> NoReturn:
    """Replace the program of this process; raises OSError if that cannot be done.

    Nothing but standard streams and the memory file is inherited: locks go with their descriptors.
    """
    file = os.memfd_create("handover", 0)
    with os.fdopen(os.dup(file), "wb") as out:
        out.write(left.dump())
    for entry in os.listdir("/proc/self/fd"):  # noqa: PTH208  (names are all there is)
        number = int(entry)
        if number > 2 and number != file and Path(f"/proc/self/fd/{entry}").exists():  # noqa: PLR2004
            fcntl.fcntl(number, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    try:
        os.execve(words[0], words, {**os.environ, VARIABLE: str(file)})  # noqa: S606  (no shell)
    finally:
        os.close(file)
