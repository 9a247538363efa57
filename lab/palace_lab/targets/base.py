"""What every target shares: its context, and the recording of each call.

Rules:
- A target's public methods are its operations: plain JSON data in, plain JSON data out.
- Each call that changes something is recorded before it begins and when it ends. An exception is
  *info* (unknown) unless the library itself says that it came before any effect (`effect` is
  "none"): then it is *fail*.

Only the standard library: targets run in every environment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from palace_lab.history.segment import Phase, Recorder


@dataclass
class Context:
    """Where and how one worker works."""

    palace: Path
    process: str
    recorder: Recorder
    pause: Callable[[str], None]
    seed: int
    fixes: tuple[str, ...] = ()
    time_scale: float = 1.0
    options: dict[str, Any] = field(default_factory=dict)


class Target:
    """Base of all targets; `RECORDS_ITSELF` names the operations made of several calls."""

    RECORDS_ITSELF: frozenset[str] = frozenset()

    def __init__(self, context: Context) -> None:
        self.context = context
        self.recorded_error: BaseException | None = None

    @contextmanager
    def call(self, op: str, *, first: int = 0, count: int = 0, revision: int = 0) -> Iterator[None]:
        """Record one call around the block."""
        recorder = self.context.recorder
        number = recorder.invoke(op, first=first, count=count, revision=revision)

        def end(phase: Phase, text: str = "") -> None:
            recorder.write(
                phase, op, number, first=first, count=count, revision=revision, text=text
            )

        try:
            yield
        except BaseException as error:  # chromadb's Rust panics are no Exception
            self.recorded_error = error
            end(phase_of(error), describe(error))
            raise
        end("ok")

    def close(self) -> None:
        """Release what the target holds; runs at an orderly end only."""


def wrong_variant(context: Context, known: Mapping[str, str]) -> str | None:
    """Return which deliberately wrong variant a process is; raises for one that is unknown."""
    wrong: str | None = context.options.get("wrong")
    if wrong is not None and wrong not in known:
        raise ValueError(f"there is no wrong variant {wrong!r}; there are: {', '.join(known)}")
    return wrong


def phase_of(error: BaseException) -> Phase:
    """Return what is known of a call that raised: fail (no effect) or info (unknown)."""
    return "fail" if getattr(error, "effect", None) == "none" else "info"


def describe(error: BaseException) -> str:
    """Return an exception as one line: its class, then its words."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
