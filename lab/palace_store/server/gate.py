"""S0, fixes A and B: which calls a server still answers when its library was replaced.

| fixes on | a stale server refuses |
|---|---|
| none | nothing: it goes on acknowledging writes with the old code |
| `stale_check` (A) | every tool |
| `refuse_writes` (B), with A or alone | every tool that changes the palace; reading goes on |

`status` is always answered: it is where the versions are told. A refusal comes before any effect.
A server that refuses changes does not sync its memories either.
"""

from __future__ import annotations

from collections.abc import Sequence

from palace_store.errors import StaleServerError
from palace_store.fixes import Fixes
from palace_store.installed import Look, Watched, watch

ACTION = "restart_mcp_server"
STATUS = "status"


def watched() -> list[Watched]:
    """Return the packages whose replacement makes a server stale; called before they are imported.

    Raises `ModuleNotFoundError` if there is no chromadb.
    """
    return [watch("palace_store", source=True), watch("chromadb")]


class Gate:
    """Looks at what is installed before each call."""

    def __init__(self, fixes: Fixes, packages: Sequence[Watched]) -> None:
        self._check = fixes.has("stale_check")
        self._keep_reads = fixes.has("refuse_writes")
        self._packages = packages

    @property
    def looks(self) -> bool:
        """Tell whether calls are checked at all."""
        return self._check or self._keep_reads

    def look(self) -> list[Look]:
        """Look at every package."""
        return [package.look() for package in self._packages]

    def replaced(self) -> bool:
        """Tell whether another whole library is installed, so that starting anew would help."""
        found = self.look()
        return any(each.stale for each in found) and not _troubled(found)

    def lets_change(self) -> bool:
        """Tell whether what changes something may be done now, also where no call asks for it."""
        return not self.looks or not any(each.stale for each in self.look())

    def refuse_if_stale(self, tool: str, *, changes: bool) -> None:
        """Raise `StaleServerError` if this call must not be answered."""
        if not self.looks or tool == STATUS or (self._keep_reads and not changes):
            return
        self.refuse_stale()

    def refuse_stale(self) -> None:
        """Raise `StaleServerError` if a new process would run something else."""
        found = self.look()
        if any(each.stale for each in found):
            raise StaleServerError(sentence(found), **versions(found))


def versions(found: Sequence[Look]) -> dict[str, dict[str, str]]:
    """Return both versions of each package, as plain data."""
    return {
        "running": {each.name: each.running for each in found},
        "installed": {each.name: each.installed or each.trouble for each in found},
    }


def sentence(found: Sequence[Look]) -> str:
    """Return what is wrong with a stale server, and what to do."""
    running = " and ".join(f"{each.name} {each.running}" for each in found)
    there = " and ".join(each.words() for each in found if not each.trouble)
    troubles = [each.words() for each in found if each.trouble]
    now = " and ".join([f"{there} is installed"] * bool(there) + troubles)
    wait = "wait until the installation has ended, then " if _troubled(found) else ""
    return (
        f"this server runs {running}, but now {now}; nothing was changed: "
        f"{wait}restart the MCP server (action_required: {ACTION})"
    )


def _troubled(found: Sequence[Look]) -> bool:
    return any(each.trouble for each in found)
