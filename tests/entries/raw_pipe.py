"""A client of a server's pipe that speaks in bytes, where the SDK's own would send none of them."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

from server_bench import DEADLINE_S, Server

GREETING = {
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "raw", "version": "1"},
    },
}


class RawPipe:
    """A client that decides which bytes go into one write."""

    def __init__(self, server: Server) -> None:
        self.process = subprocess.Popen(
            [str(server.python), *server.words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=server.environ,
            cwd=server.site.directory,
        )

    def send(self, *messages: dict[str, Any], more: bytes = b"") -> None:
        assert self.process.stdin is not None
        lines = [json.dumps({"jsonrpc": "2.0", **message}).encode() for message in messages]
        os.write(self.process.stdin.fileno(), b"".join(line + b"\n" for line in lines) + more)

    def receive(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> bytes:
        """Leave; returns what the server had said that nobody asked for."""
        return self.process.communicate(timeout=DEADLINE_S)[0]


def call(number: int, tool: str, **arguments: Any) -> dict[str, Any]:
    return {
        "id": number,
        "method": "tools/call",
        "params": {"name": tool, "arguments": arguments},
    }
