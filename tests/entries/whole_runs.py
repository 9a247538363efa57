"""Whole runs of the command on small scenarios of a test's own, which may leave nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

START = "import sys; from palace_lab.cli import main; sys.argv[0] = 'palace-lab'; main()"

#: A shell starts background jobs with SIGINT ignored; a test runner may be one.
INTERRUPTIBLE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "

HEAD = '''"""{sentence}"""

from palace_lab.plan import Plan
from palace_lab.plan.steps import Backdate, Begin, Crash, Do, Finish, Go, Paused, Terminate
from palace_lab.scenario import SQLITE, Scenario, Wrong
from palace_store.fixes import Fixes

'''

#: The first openers of a new graph: fails without our fixes, holds with them.
PLAN = """Plan(
        target="triples",
        observers=("triples",),
        steps=(
            Do("holder", "hold"),
            Begin("opener", "open", {"pause_when_locked": True}),
            Paused("opener", "locked"),
            Do("holder", "release"),
            Go("opener"),
            Finish("opener"),
        ),
    )"""

#: Waits for a lock that nobody holds.
UNDISTURBED = """Plan(
        target="triples",
        observers=("triples",),
        steps=(
            Begin("writer", "add", {"n": 1}),
            Paused("writer", "locked"),
            Go("writer"),
            Finish("writer"),
        ),
    )"""

#: No call of the writer is the one it is to be killed at, so no run can say which it is.
NO_SUCH_CALL = """Plan(
        target="triples",
        observers=("triples",),
        steps=(
            Crash("writer", "write", "*/no-such-file", at=0.5),
            Do("writer", "add", {"n": 1}),
        ),
    )"""

QUIET = """Plan(
        target="triples",
        observers=("triples",),
        steps=(Do("writer", "add", {"n": 1}),),
    )"""


def scenario(folder: Path, name: str, **values: str) -> None:
    values = {"system": "'s2'", "releases": "(SQLITE,)", "accepts": "{SQLITE: 'locked'}", **values}
    body = "".join(f"    {key}={value},\n" for key, value in values.items())
    place = folder / "scenarios" / "s2_small"
    place.mkdir(parents=True, exist_ok=True)
    head = HEAD.format(sentence=f"A small scenario named {name}.")
    text = f"{head}scenario = Scenario(\n{body})\n"
    (place / f"{name}.py").write_text(text)


def environment(folder: Path) -> dict[str, str]:
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    return {
        **os.environ,
        "PALACE_LAB_SCENARIOS": str(folder / "scenarios"),
        "TMPDIR": str(temporary),
        "NO_COLOR": "1",
    }


def run(folder: Path, *words: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", START, *words],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def left_of(folder: Path) -> list[object]:
    """Return the directories and processes that a run in this folder has left."""
    found: list[object] = [*(folder / "tmp").glob("palace-lab-*")]
    marker = str(folder / "tmp")
    for process in psutil.process_iter():
        try:
            if marker in " ".join(process.cmdline()) or marker in str(process.environ()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def assert_nothing_left(folder: Path, *, within_s: float = 10.0) -> None:
    """Check it; the janitor, which cleans up after a run, is the last to go."""
    deadline = time.monotonic() + within_s
    while left_of(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left_of(folder) == []
