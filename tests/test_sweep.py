"""`palace-lab sweep`: it ends where no call is left to kill at, and with what it has seen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from whole_runs import assert_nothing_left, run, scenario

from palace_lab.errors import ExitCode
from palace_lab.processes.supervise import tracing_available

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(tracing_available() is not None, reason=str(tracing_available())),
]


def plan(*steps: str) -> str:
    return f"Plan(target='triples', observers=('triples',), steps=({', '.join(steps)},))"


CRASH = "Crash('writer', 'write', '*/knowledge.sqlite3-wal', at=0.5)"
ADD = "Do('writer', 'add', {'n': 1})"
#: Succeed however the writer ended.
BACK = "Backdate('**/knowledge.sqlite3', seconds=60)"
ASKED = "Do('other', 'open'), Terminate('other')"
BROKEN = {"off": "Fixes.none()", "fixed": "Fixes.all()"}


@pytest.mark.parametrize("arm", ["off", "fixed"])
def test_a_sweep_ends_where_nothing_is_left_to_kill_at(tmp_path: Path, arm: str) -> None:
    scenario(tmp_path, "back", plan=plan(CRASH, ADD, BACK, ASKED), **BROKEN)
    done = run(tmp_path, "sweep", "s2/back", "--arm", arm, "--step", "100000", timeout_s=60)
    assert done.returncode == ExitCode.PROMISED, done.stdout + done.stderr
    assert re.match(r"k=1: held in .*\nno point left after k=1: 1 held\n\Z", done.stdout)
    assert_nothing_left(tmp_path)


def test_a_sweep_that_comes_to_no_call_has_shown_nothing(tmp_path: Path) -> None:
    scenario(tmp_path, "back", plan=plan(CRASH, ADD, BACK), **BROKEN)
    words = ("sweep", "s2/back", "--arm", "off", "--pattern", "*/no-such-file")
    done = run(tmp_path, *words, timeout_s=60)
    assert done.returncode == ExitCode.VACUOUS, done.stdout + done.stderr
    assert done.stdout.startswith("no point left after k=0")


@pytest.mark.parametrize("arm", ["off", "fixed"])
def test_trouble_of_the_lab_ends_a_sweep_with_its_own_code(tmp_path: Path, arm: str) -> None:
    scenario(tmp_path, "senseless", plan=plan(CRASH, ADD, "Do('next', 'add', {'m': 1})"), **BROKEN)
    done = run(tmp_path, "sweep", "s2/senseless", "--arm", arm, timeout_s=60)
    assert done.returncode == ExitCode.USAGE, done.stdout + done.stderr
    assert done.stdout.startswith("k=1: lab-error in ")
    assert "k=2" not in done.stdout
    assert "stopped at k=1 by trouble of the lab itself" in done.stderr
    assert_nothing_left(tmp_path)
