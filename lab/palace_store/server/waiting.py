"""Threads of their own for calls that may wait for a remote.

Every other call is done by one of a few threads that all of them share (anyio's, 40). Were a remote
waited for in those, a store would wait until enough others had given it up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

#: Our choice: more than one client asks at once; each costs a thread for as long as it waits.
WAITING_MAX = 256
_LIMITER = anyio.CapacityLimiter(WAITING_MAX)
T = TypeVar("T")


async def waited_for(call: Callable[[], T]) -> T:
    """Return what a call returns that may wait for a remote."""
    return await anyio.to_thread.run_sync(call, limiter=_LIMITER)
