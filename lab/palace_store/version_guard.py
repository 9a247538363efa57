"""S0: a process whose chromadb is older than the palace refuses to touch it.

A server that outlives an upgrade keeps serving with the library it imported. In the report a live
0.6.x wrote 8-byte BLOBs where 1.5.x keeps INTEGER sequence numbers, and the next process died. So
every process notes the newest chromadb that opened the palace, and compares before each operation.
"""

from __future__ import annotations

import re

from palace_store.errors import StaleLibraryError


def version_key(version: str) -> tuple[int, ...]:
    """Order release numbers; a pre-release counts as its release, a missing part as 0."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def refuse_if_older(running: str, palace: str, where: str) -> None:
    """Raise `StaleLibraryError` if `running` is older than the newest one noted in the palace."""
    if palace and version_key(running) < version_key(palace):
        raise StaleLibraryError(
            f"this process runs chromadb {running}, but {where} has been opened by chromadb "
            f"{palace}; nothing was changed: restart this process with chromadb {palace} or newer",
            running=running,
            palace=palace,
        )


def newest(running: str, palace: str) -> str:
    """Return the newer of the two versions."""
    return running if version_key(running) >= version_key(palace) else palace
