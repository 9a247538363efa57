"""What commands share: environments by release, and which of them could not be had."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from palace_lab.environments import Environment, ensure, resolve_release
from palace_lab.errors import RefusedError
from palace_lab.processes.supervise import tracing_available

Tell = Callable[[str], None]


def provide(
    releases: Iterable[str], tell: Tell, *, offline: bool = False
) -> tuple[list[Environment], dict[str, str]]:
    """Build what is missing; returns the environments and, by release, why one was refused."""
    ready: list[Environment] = []
    refused: dict[str, str] = {}
    for release in releases:
        try:
            ready.append(ensure(release, progress=tell, offline=offline))
        except RefusedError as error:
            refused[release] = str(error)
            tell(f"chromadb {release} is refused: {error}")
    return ready, refused


def resolve_all(texts: Iterable[str]) -> list[str]:
    """Return known releases for what a user typed, each once, in the order of release."""
    resolved = {resolve_release(text) for text in texts}
    return sorted(resolved, key=lambda text: [int(part) for part in text.split(".")])


def why_no_tracing() -> str:
    """Return why crash points cannot be used on this machine, or "" if they can."""
    return tracing_available() or ""


def default_reports() -> Path:
    """Return where runs write: `reports/` of the current folder."""
    return Path.cwd() / "reports"
