"""S0, fix C: a stale server starts itself anew in its own process, on the same pipe (opt-in).

* It is begun by the first call that finds the library replaced by another whole one. That call, and
  those that come after it, are answered by the new program.
* Calls under way are waited for, at most `patience_s` seconds; none is cut off.
* The new program is tried first, in a process of its own (`--check`): one that cannot be imported,
  is refused its options or this palace, knows an older schema of its files than they have, or would
  be stale itself, must not cost the client its connection. If that fails, or waiting took too long,
  the old program goes on, as stale as it was: it refuses the calls that would change something, and
  takes the others back.
* What only opening the palace can show is not tried: a new program that fails there answers the
  calls it was left with an error, and ends.
"""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Callable

import anyio
import anyio.abc
import anyio.to_thread

from palace_store.server.handover import become, command
from palace_store.server.wire import Id, Wire

TRIAL_S = 120.0  # a cold import of chromadb from a slow card takes most of this
PAUSE_S = 5.0  # our choice: how soon after one that failed the next restart is tried
CHECK = "--check"
_SHOWN_MAX = 300
_log = logging.getLogger(__name__)


class Restart:
    """The restart of one server; `stop` closes its stores, `pipe` is where its answers go."""

    def __init__(
        self, wire: Wire, stop: Callable[[], None], *, pipe: int, patience_s: float
    ) -> None:
        self._wire = wire
        self._stop = stop
        self._pipe = pipe
        self._patience_s = patience_s
        self._under_way = False
        self._reading: set[Id] = set()  # calls taken over that change nothing
        self._not_before_s = 0.0
        self._tasks: anyio.abc.TaskGroup | None = None
        self.busy = 0  # calls that are being done, cancelled ones included
        self._idle = anyio.Event()

    def serve_in(self, tasks: anyio.abc.TaskGroup) -> None:
        """Restart in this group of tasks, when it comes to that."""
        self._tasks = tasks

    def takes(self, request: Id, replaced: Callable[[], bool], *, changes: bool) -> bool:
        """Take a call over, if a restart is under way or `replaced()` says that one is due."""
        if not self._under_way:
            if time.monotonic() < self._not_before_s or self._tasks is None or not replaced():
                return False
            self._under_way = True
            self._wire.stop_reading()
            _log.warning("the library was replaced: restart after %d calls under way", self.busy)
            self._tasks.start_soon(self._restart)
        self._wire.hand_over(request)
        if not changes:
            self._reading.add(request)
        return True

    def began(self) -> None:
        """Count one call that is being done."""
        self.busy += 1

    def ended(self) -> None:
        """Count one call that is done."""
        self.busy -= 1
        self._idle.set()
        self._idle = anyio.Event()

    async def _restart(self) -> None:
        why = f"calls under way took longer than {self._patience_s:g} s"
        with anyio.move_on_after(self._patience_s):
            await self._quiet()
            why = ""
        why = why or await anyio.to_thread.run_sync(_tried)
        if not why:
            try:
                await anyio.to_thread.run_sync(self._become)
            except OSError as error:
                why = f"the new program could not be started ({error.strerror or error})"
        _log.warning("the server did not restart: %s", why)
        self._under_way = False
        self._not_before_s = time.monotonic() + PAUSE_S
        reading, self._reading = self._reading, set()
        await self._wire.go_on(
            f"this server is stale and could not restart itself: {why}; nothing was changed: "
            "restart the MCP server (action_required: restart_mcp_server)",
            reading,
        )

    async def _quiet(self) -> None:
        await self._wire.settled()
        while self.busy:
            await self._idle.wait()

    def _become(self) -> None:
        try:
            self._stop()
        finally:  # what cannot be closed in good order is mended by whoever opens it next
            become(command(), self._wire.left(), self._pipe)


def _tried() -> str:
    """Start the new program for as long as it takes to check; returns why it cannot serve."""
    why = _run(CHECK)
    # One from before there was such a check is only asked for its version.
    return _run("--version") if f"unrecognized arguments: {CHECK}" in why else why


def _run(word: str) -> str:
    try:
        done = subprocess.run(
            [*command(), word],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=TRIAL_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the new program does not start ({error})"
    if done.returncode == 0:
        return ""
    last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
    return f"the new program does not start ({last[:_SHOWN_MAX]})"
