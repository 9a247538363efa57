"""What stops a long run, what pauses it, and that a machine without sensors is no obstacle."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from palace_lab.processes.burden import Burden, in_memory
from palace_lab.processes.sensors import Reading, Sensors
from palace_lab.runner import guards as module
from palace_lab.runner.guards import COOL_S_MAX, Guards, Limits

MB = 1000**2


class Machine:
    """A machine of which everything can be set: it stands in for burden, sensors and clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.written = self.memory = 0
        self.reading = Reading()

    def clock(self) -> float:
        return self.now

    def written_bytes(self) -> int:
        return self.written

    def memory_bytes(self) -> int:
        return self.memory

    def read(self) -> Reading:
        return self.reading

    def guards(self, tmp_path: Path, limits: Limits, **values: float) -> Guards:
        made = Guards(
            limits,
            jobs=3,
            scratch=tmp_path,
            home=tmp_path,
            sensors=self,  # type: ignore[arg-type]
            burden=self,  # type: ignore[arg-type]
            clock=self.clock,
            **values,  # type: ignore[arg-type]
        )
        made._count_left = True  # also where the tests' own folder is in memory
        return made


def test_time_counts_from_where_the_night_stood(tmp_path: Path) -> None:
    machine = Machine()
    guards = machine.guards(tmp_path, Limits(seconds=100), worked_s=60)
    machine.now += 39
    assert guards.look(0).jobs == 3
    machine.now += 2
    assert guards.look(3).over == "its time is over"


def test_the_write_budget_counts_the_larger_of_what_is_known(tmp_path: Path) -> None:
    machine = Machine()
    guards = machine.guards(tmp_path, Limits(9999, written_bytes=100 * MB), written_bytes=50 * MB)
    machine.written = 20 * MB
    guards.add_left(40 * MB)
    assert guards.look(0).jobs == 3
    assert guards.written_bytes == 90 * MB
    machine.written, machine.now = 60 * MB, machine.now + 5
    assert guards.look(0).over == "its write budget is used up"
    assert not guards.look(0).cut_short


@pytest.mark.parametrize("reading", [Reading(celsius=81.0), Reading(flags=0x4), Reading(60.0, 1)])
def test_heat_pauses_until_it_has_cooled_by_more_than_a_little(
    tmp_path: Path, reading: Reading
) -> None:
    machine = Machine()
    guards = machine.guards(tmp_path, Limits(99_999, celsius=80))
    machine.reading = reading
    assert guards.look(0).why.startswith("paused until the machine has cooled")
    machine.reading, machine.now = Reading(celsius=78.0), machine.now + 10
    assert guards.look(0).jobs == 0
    machine.reading, machine.now = Reading(celsius=74.0, flags=0x40000), machine.now + 10
    assert guards.look(0).jobs == 3


def test_heat_that_stays_ends_the_run(tmp_path: Path) -> None:
    machine = Machine()
    guards = machine.guards(tmp_path, Limits(99_999, celsius=80))
    machine.reading = Reading(celsius=90.0)
    assert not guards.look(0).over
    machine.now += COOL_S_MAX + 1
    go = guards.look(0)
    assert go.cut_short
    assert "did not cool within 15 minutes: it has 90 °C" in go.over


def test_heat_may_be_no_matter(tmp_path: Path) -> None:
    machine = Machine()
    machine.reading = Reading(celsius=120.0, flags=0xF)
    assert machine.guards(tmp_path, Limits(99_999, celsius=0)).look(0).jobs == 3


def test_above_the_limit_of_memory_fewer_run_and_in_the_end_none(tmp_path: Path) -> None:
    machine = Machine()
    guards = machine.guards(tmp_path, Limits(99_999, memory_bytes=1000 * MB))
    machine.memory = 1100 * MB
    assert guards.look(3).jobs == 0
    machine.memory, machine.now = 900 * MB, machine.now + 5
    assert guards.look(1).jobs == 2
    machine.memory, machine.now = 1100 * MB, machine.now + 5
    assert guards.look(1).why
    assert "no trial under way" in guards.look(0).over


def test_what_a_trial_used_is_not_held_against_the_machine_when_it_is_over(tmp_path: Path) -> None:
    machine = Machine()
    guards = machine.guards(tmp_path, Limits(99_999, memory_bytes=1000 * MB))
    machine.memory = 1100 * MB
    assert guards.look(1).why
    machine.memory, machine.now = 100 * MB, machine.now + 0.5
    assert guards.look(0).jobs == 3
    machine.memory, machine.now = 1100 * MB, machine.now + 5
    assert guards.look(1).why
    assert guards.look(0).cut_short


def test_too_little_room_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guards = Machine().guards(tmp_path, Limits(99_999))
    assert guards.look(0).jobs == 3
    monkeypatch.setattr(module, "FREE_BYTES_MIN", 10**18)
    assert guards.look(0).cut_short
    assert "make room" in guards.look(0).over


def pi(root: Path, celsius: str = "61200\n", flags: str | None = "50005\n") -> Path:
    for number, text in enumerate([celsius, "45000", "-274000", "rubbish", ""]):
        zone = root / "sys/class/thermal" / f"thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "temp").write_text(text)
    place = root / "sys/devices/platform/soc/soc:firmware"
    place.mkdir(parents=True)
    if flags is not None:
        (place / "get_throttled").write_text(flags)
    return root


def test_a_pi_is_read_by_its_files(tmp_path: Path) -> None:
    reading = Sensors(pi(tmp_path), path="").read()
    assert reading == Reading(61.2, 0x50005)
    assert reading.held_back == "under-voltage, throttled"
    assert reading.was_held_back == "under-voltage, throttled"


@pytest.mark.parametrize(
    ("body", "flags"),
    [("echo throttled=0x8", 8), ("exit 1", None), ("echo VCHI initialization failed", None)],
)
def test_a_pi_is_asked_by_its_command(tmp_path: Path, body: str, flags: int | None) -> None:
    command = tmp_path / "bin" / "vcgencmd"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\n{body}\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    root = pi(tmp_path / "root", flags=None)
    assert Sensors(root, path=str(command.parent)).read().flags == flags


def test_a_machine_without_sensors_says_so(tmp_path: Path) -> None:
    assert Sensors(tmp_path, path="").read() == Reading()
    machine = Machine()
    assert "no sensor here" in machine.guards(tmp_path, Limits(1)).sensors_said()


def test_what_a_child_wrote_counts_when_it_has_ended() -> None:
    """Bytes are counted where the kernel counts them: not in memory."""
    place = Path.cwd() / f".burden-{os.getpid()}"
    if in_memory(place.parent):
        pytest.skip("the current folder is in memory: nothing is written to a disk")
    burden = Burden()
    body = f"import os; f = open({str(place)!r}, 'wb'); f.write(b'x' * 4_000_000); f.flush(); "
    try:
        subprocess.run([sys.executable, "-c", f"{body} os.fsync(f.fileno())"], check=True)
        assert burden.written_bytes() >= 4_000_000
    finally:
        place.unlink()
    before = burden.written_bytes()
    assert burden.written_bytes() >= before
    assert burden.memory_bytes() > 5 * MB
