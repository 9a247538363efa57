"""What a long run asks of the machine before each trial: time, budget, heat, memory, room on disk.

Rules:
- No limit here cuts off a trial that has begun. So it is passed by what the trials under way still
  take, and a hard limit of memory is the system's to set (`MemoryMax` of the unit in docs/systemd).
- Heat and a Pi's own flags make the run pause until the machine has cooled, for a bounded time:
  what a machine does that holds itself back says nothing about the library.
- Above the limit of memory no trial begins, and from then on one fewer runs at a time. If the run
  is above it with nothing under way, it ends.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from palace_lab.processes.burden import Burden, in_memory
from palace_lab.processes.sensors import Reading, Sensors

#: It has cooled when it is so much below the limit.
COOL_BY_C = 5.0
#: So long it may take to cool; then the run ends.
COOL_S_MAX = 15 * 60.0
#: With less room than this a trial could fail for want of it, and be taken for a finding.
FREE_BYTES_MIN = 256 * 1000**2
_LOOK_EVERY_S = 2.0
_FEEL_EVERY_S = 5.0


@dataclass(frozen=True)
class Limits:
    """What a run may use. 0: no limit."""

    seconds: float
    written_bytes: int = 0
    celsius: float = 0.0
    memory_bytes: int = 0


@dataclass(frozen=True)
class Go:
    """How many trials may run now. `over`: no more will, and why; `cut_short`: not as asked for."""

    jobs: int
    why: str = ""  # what is waited for
    over: str = ""
    cut_short: bool = False


class Guards:
    """Looks at the machine. `worked_s` and `written_bytes` are what a night had used before."""

    def __init__(
        self,
        limits: Limits,
        *,
        jobs: int,
        scratch: Path,
        home: Path,
        worked_s: float = 0.0,
        written_bytes: int = 0,
        sensors: Sensors | None = None,
        burden: Burden | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._began = clock() - worked_s
        self._before = written_bytes
        self._left = 0
        self._count_left = not in_memory(scratch)
        self._places = (scratch, home)
        self._sensors = Sensors() if sensors is None else sensors
        self._burden = Burden() if burden is None else burden
        self.jobs = jobs
        self._looked = self._felt = float("-inf")
        self._reading = Reading()
        self._hot_since: float | None = None
        self._memory = self._written = 0

    @property
    def seconds(self) -> float:
        """Return how long it may work in all."""
        return self._limits.seconds

    @property
    def worked_s(self) -> float:
        """Return the seconds the night has worked, pauses included."""
        return self._clock() - self._began

    @property
    def written_bytes(self) -> int:
        """Return what the night has written, as it was last looked at.

        It is what the kernel counted or what trials left, whichever is more; what was left in
        memory is not counted.
        """
        return self._before + max(self._written, self._left)

    def add_left(self, count: int) -> None:
        """Count what a trial left in its directory."""
        self._left += count if self._count_left else 0

    def sensors_said(self) -> str:
        """Return in words which sensors there are, and what they say."""
        read = self._sensors.read()
        parts = [] if read.celsius is None else [f"{read.celsius:.0f} °C"]
        if read.flags is not None:
            parts.append(f"flags 0x{read.flags:x} ({read.held_back or 'not held back'})")
        if read.was_held_back:
            parts.append(f"since it was started: {read.was_held_back}")
        return ", ".join(parts) or "no sensor here: the run cannot tell whether this gets too hot"

    def look(self, running: int) -> Go:
        """Return how many trials may run now, `running` of them already do."""
        now = self._clock()
        # What a trial that has ended since had used is not in use any more.
        stale = running == 0 and self._above_memory()
        if stale or now - self._looked >= _LOOK_EVERY_S:
            self._looked = now
            self._written = self._burden.written_bytes()
            self._memory = self._burden.memory_bytes()
            self._lower(running)
        if self.worked_s >= self._limits.seconds:
            return Go(0, over="its time is over")
        if 0 < self._limits.written_bytes <= self.written_bytes:
            return Go(0, over="its write budget is used up")
        if too_full := self._too_full():
            return Go(0, over=too_full, cut_short=True)
        if now - self._felt >= _FEEL_EVERY_S:
            self._felt = now
            self._reading = self._sensors.read()
        if hot := self._hot():
            return self._cooling(hot, now)
        self._hot_since = None
        return self._within_memory(running)

    def _too_full(self) -> str:
        for place in self._places:
            free = shutil.disk_usage(place).free
            if free < FREE_BYTES_MIN:
                return f"{place} has only {free // 1000**2} MB free: make room"
        return ""

    def _above_memory(self) -> bool:
        return 0 < self._limits.memory_bytes < self._memory

    def _lower(self, running: int) -> None:
        if self._above_memory() and 1 < running == self.jobs:
            self.jobs -= 1

    def _within_memory(self, running: int) -> Go:
        if not self._above_memory():
            return Go(self.jobs)
        said = f"{self._memory // 1000**2} MB of memory are in use, more than allowed"
        if running == 0:
            return Go(0, over=f"{said}, with no trial under way", cut_short=True)
        return Go(0, why=said)

    def _hot(self) -> str:
        limit = self._limits.celsius
        if limit <= 0:
            return ""
        if self._reading.held_back:
            return f"the firmware says: {self._reading.held_back}"
        celsius = self._reading.celsius
        # Once it was too hot it has to cool by more than what one trial would bring back.
        limit -= COOL_BY_C if self._hot_since is not None else 0.0
        return "" if celsius is None or celsius < limit else f"it has {celsius:.0f} °C"

    def _cooling(self, hot: str, now: float) -> Go:
        if self._hot_since is None:
            self._hot_since = now
        if now - self._hot_since >= COOL_S_MAX:
            minutes = COOL_S_MAX / 60
            return Go(
                0,
                over=f"the machine did not cool within {minutes:.0f} minutes: {hot}",
                cut_short=True,
            )
        return Go(0, why=f"paused until the machine has cooled: {hot}")
