"""A process that records events, says how long that took, and kills itself at once.

Only the standard library and the history: it runs in an environment of chromadb.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from palace_lab.history.segment import Recorder
from palace_lab.processes.wire import Channel


def main(channel: Channel, config: dict[str, Any]) -> None:
    """Record `count` events at `path`; `how` is "segment" or "lines"."""
    path, count = Path(config["path"]), int(config["count"])
    seconds = (_segment if config["how"] == "segment" else _lines)(path, count // 2)
    channel.send({"seconds": seconds})
    os.kill(os.getpid(), signal.SIGKILL)


def _segment(path: Path, calls: int) -> float:
    recorder = Recorder(path, "writer", capacity=2 * calls)
    began = time.monotonic()
    for number in range(calls):
        call = recorder.invoke("upsert", first=number, count=1, revision=1)
        recorder.write("ok", "upsert", call, first=number, count=1, revision=1)
    return time.monotonic() - began


def _lines(path: Path, calls: int) -> float:
    event = {"process": "writer", "pid": os.getpid(), "op": "upsert", "count": 1, "text": ""}
    with path.open("w", encoding="utf-8") as out:
        began = time.monotonic()
        for number in range(calls):
            for phase in ("invoke", "ok"):
                event |= {"call": number, "phase": phase, "time_ns": time.monotonic_ns()}
                event |= {"first": number, "revision": 1}
                out.write(json.dumps(event) + "\n")
                out.flush()
        return time.monotonic() - began
