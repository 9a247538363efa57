"""What a worker may use and how it ended.

Rules: an exit is data. `by_lab` says that the lab sent the signal that ended it; a signal the lab
did not send is a finding of its own.
"""

from __future__ import annotations

import signal
from dataclasses import asdict, dataclass, field
from typing import Any

from palace_lab.errors import WorkerDiedError

#: Exit code of a worker whose entry raised; the traceback is in `Exit.crash`.
CRASH_CODE = 70


@dataclass(frozen=True)
class Limits:
    """Resource limits of one worker; None leaves one as it is. Core dumps are always off.

    Beyond `file_size_bytes` a write fails with EFBIG (Python ignores SIGXFSZ); `memory_bytes`
    limits address space (RLIMIT_AS), which is several times what a chromadb process resides in;
    `cpu_s` is whole seconds of processor time, then SIGXCPU, and SIGKILL a second later.
    """

    file_size_bytes: int | None = None
    memory_bytes: int | None = None
    cpu_s: int | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; use a number above 0, or None for no limit")

    def to_wire(self) -> dict[str, int | None]:
        """Return the limits as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Usage:
    """What the kernel counted for the worker and the children it waited for.

    `written_bytes` is what was handed to block devices (0 on tmpfs).
    """

    maxrss_bytes: int = 0
    user_s: float = 0.0
    system_s: float = 0.0
    written_bytes: int = 0


@dataclass(frozen=True)
class Exit:
    """How a worker ended: either `code` or `signal` is set.

    `crash` is the traceback of an exception its entry did not catch (`code` is then 70); `note`
    says why the lab ended it where that is not plain from the plan.
    """

    code: int | None
    signal: int | None
    by_lab: bool
    usage: Usage = field(default_factory=Usage)
    crash: str | None = None
    note: str | None = None

    @property
    def clean(self) -> bool:
        """Tell whether the worker's entry returned normally."""
        return self.code == 0

    @property
    def killed_by_lab(self) -> bool:
        """Tell whether it was killed (SIGKILL), and by the lab."""
        return self.signal == signal.SIGKILL and self.by_lab

    def describe(self) -> str:
        """Return the exit in words, for a sentence that names the worker."""
        if self.signal is not None:
            try:
                name = signal.Signals(self.signal).name
            except ValueError:
                name = f"signal {self.signal}"
            text = f"died by {name}{' sent by the lab' if self.by_lab else ''}"
        else:
            text = f"ended with exit code {self.code}"
        if self.note:
            text += f" ({self.note})"
        if self.crash:
            text += f": {self.crash.strip().splitlines()[-1]}"
        return text

    def to_wire(self) -> dict[str, Any]:
        """Return the exit as plain data."""
        return asdict(self)


class WorkerGoneError(WorkerDiedError):
    """A worker ended while something was awaited from it; `exit` says how."""

    def __init__(self, worker: str, ended: Exit) -> None:
        super().__init__(f"worker {worker!r} {ended.describe()}")
        self.worker = worker
        self.exit = ended
