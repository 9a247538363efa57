"""A process that does nothing at all is told from every one that does something."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from palace_lab.processes import stillness
from palace_lab.processes.stillness import Stillness, asleep

LOOK_S = 0.1
LOCKED = """
import threading
lock = threading.Lock()
lock.acquire()
print(flush=True)
lock.acquire()
"""
PARENT = """
import subprocess, sys
print(flush=True)
subprocess.run([sys.executable, "-c", "while True: pass"])
"""
THREADED = """
import threading, time
def look():
    while True:
        time.sleep(0.02)
threading.Thread(target=look).start()
print(flush=True)
time.sleep(600)
"""
#: What a process does, and whether that is nothing.
DOINGS = {
    "sleeps": ("import time; print(flush=True); time.sleep(600)", True),
    "waits for a lock of its own": (LOCKED, True),
    "works": ("print(flush=True)\nwhile True: pass", False),
    "looks again": ("import time; print(flush=True)\nwhile True: time.sleep(0.02)", False),
    "waits for a child that works": (PARENT, False),
    "waits while a thread of its own looks again": (THREADED, False),
}


@contextmanager
def doing(code: str) -> Iterator[int]:
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        for pid in [*children(process.pid), process.pid]:
            os.kill(pid, signal.SIGKILL)


def children(pid: int) -> list[int]:
    return [child.pid for child in stillness.psutil.Process(pid).children(recursive=True)]


@pytest.mark.parametrize("what", DOINGS)
def test_only_who_does_nothing_is_still(what: str) -> None:
    code, is_still = DOINGS[what]
    with doing(code) as pid:
        while "child" in what and not children(pid):
            time.sleep(0.01)
        time.sleep(0.3)  # a new interpreter's last steps are over
        looks = Stillness(pid, gap_s_max=1.0)
        longest_s = 0.0
        for _ in range(12):
            longest_s = max(longest_s, looks.look())
            time.sleep(LOOK_S)
    if is_still:
        assert longest_s >= 10 * LOOK_S
    else:
        assert longest_s < 5 * LOOK_S


def test_a_process_that_has_ended_is_not_still() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert asleep(process.pid) is None
    assert Stillness(process.pid, gap_s_max=1.0).look() == 0.0


def test_a_machine_that_stood_still_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(stillness, "asleep", lambda _: frozenset({("1", "2", "3")}))
    monkeypatch.setattr(stillness.time, "monotonic", lambda: now_s)
    looks = Stillness(1, gap_s_max=1.0)
    assert looks.look() == 0.0
    now_s += 0.5
    assert looks.look() == 0.5
    now_s += 3600.0
    assert looks.look() == 1.5


def test_who_has_run_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s, seen = 0.0, frozenset({("1", "2", "3")})
    monkeypatch.setattr(stillness, "asleep", lambda _: seen)
    monkeypatch.setattr(stillness.time, "monotonic", lambda: now_s)
    looks = Stillness(1, gap_s_max=1.0)
    assert looks.look() == 0.0
    now_s = 1.0
    assert looks.look() == 1.0
    seen = frozenset({("1", "3", "3")})
    now_s = 2.0
    assert looks.look() == 0.0
