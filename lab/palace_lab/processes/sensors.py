"""How hot the machine is, and whether it holds itself back, by the kernel and a Pi's firmware.

Rules: a sensor that is not there says nothing, and one that cannot be read is not there. `root` is
the file system looked at, so that a test can bring a machine of its own.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

#: The firmware's flags of a Raspberry Pi that say how it is now; those 16 higher: since it started.
THROTTLED = {
    0: "under-voltage",
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
}
_SINCE_START = 16
_FLAGS = "sys/devices/platform/soc/soc:firmware/get_throttled"
_ZONES = "sys/class/thermal"
_SAID = re.compile(r"(?:throttled=)?0x([0-9a-f]{1,8})|([0-9a-f]{1,8})", re.IGNORECASE)
_ASK_S_MAX = 5.0
_COLDEST, _HOTTEST = -50.0, 200.0  # what broken zones report is outside


@dataclass(frozen=True)
class Reading:
    """What was read: the hottest zone in degrees Celsius, and the flags; None without a sensor."""

    celsius: float | None = None
    flags: int | None = None

    @property
    def held_back(self) -> str:
        """Return in words how the machine holds itself back now, or ""."""
        return ", ".join(word for bit, word in THROTTLED.items() if (self.flags or 0) & 1 << bit)

    @property
    def was_held_back(self) -> str:
        """Return in words how it has held itself back since it was started, or ""."""
        flags = (self.flags or 0) >> _SINCE_START
        return ", ".join(word for bit, word in THROTTLED.items() if flags & 1 << bit)


class Sensors:
    """The sensors of this machine; which there are is found out once."""

    def __init__(self, root: Path = Path("/"), *, path: str | None = None) -> None:
        self._zones = sorted((root / _ZONES).glob("thermal_zone*/temp"))
        self._file = root / _FLAGS
        self._command = shutil.which("vcgencmd", path=path)

    def read(self) -> Reading:
        """Return how it is now."""
        found = [value for zone in self._zones if (value := _celsius(zone)) is not None]
        return Reading(max(found, default=None), self._throttled())

    def _throttled(self) -> int | None:
        text = _text(self._file)
        if text is None and self._command is not None:
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                text = subprocess.run(
                    [self._command, "get_throttled"],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    check=True,
                    timeout=_ASK_S_MAX,
                ).stdout.decode("ascii", "replace")
        said = _SAID.fullmatch(text.strip()) if text is not None else None
        return int(said[1] or said[2], 16) if said else None


def _celsius(zone: Path) -> float | None:
    text = _text(zone)
    try:
        value = int(text or "") / 1000
    except ValueError:
        return None
    return value if _COLDEST < value < _HOTTEST else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
