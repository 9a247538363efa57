"""Whole runs of the command on small scenarios of their own: every verdict can be reached."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from whole_runs import (
    INTERRUPTIBLE,
    NO_SUCH_CALL,
    PLAN,
    QUIET,
    START,
    UNDISTURBED,
    assert_nothing_left,
    environment,
    run,
    scenario,
)

from palace_lab.errors import ExitCode

pytestmark = pytest.mark.slow

CASES: dict[str, tuple[dict[str, str], ExitCode, str]] = {
    "promise_kept": (
        {"plan": PLAN, "off": "Fixes.none()"},
        ExitCode.PROMISED,
        "REPRODUCED 5/5 locked",
    ),
    "fixed_arm_broken": (
        {"plan": PLAN, "off": "Fixes.none()", "fixed": "Fixes.none()"},
        ExitCode.VIOLATED,
        "VIOLATED 5/5 locked",
    ),
    "fixed_upstream": (
        {"plan": PLAN, "off": "Fixes.all()"},
        ExitCode.GONE,
        "GONE",
    ),
    "guard_that_cannot_fail": (
        {"plan": QUIET, "wrong": "Wrong('nothing is wrong')"},
        ExitCode.VACUOUS,
        "VACUOUS",
    ),
    "other_failure": (
        {"plan": PLAN, "off": "Fixes.none()", "accepts": "{SQLITE: 'silent-row-loss'}"},
        ExitCode.UNKNOWN,
        "UNKNOWN",
    ),
    "fault_not_reached": (
        {"plan": UNDISTURBED, "off": "Fixes.none()"},
        ExitCode.VACUOUS,
        "VACUOUS",
    ),
    "no_such_call": (
        {"plan": NO_SUCH_CALL, "off": "Fixes.none()"},
        ExitCode.VACUOUS,
        "the fault was not reached in 5 of 5 trials: writer killed at write */no-such-file k=1",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_every_verdict_and_its_exit_code(name: str, tmp_path: Path) -> None:
    values, code, expected = CASES[name]
    scenario(tmp_path, name, **values)
    done = run(tmp_path, "run")
    assert expected in done.stdout, done.stdout + done.stderr
    assert done.returncode == code, done.stdout
    assert_nothing_left(tmp_path)


def test_broken_promise_prints_a_line_that_shows_it_again(tmp_path: Path) -> None:
    scenario(tmp_path, "broken", plan=PLAN, off="Fixes.none()", fixed="Fixes.none()")
    done = run(tmp_path, "run", "--trials", "2")
    (line, *_) = [line for line in done.stdout.splitlines() if "palace-lab replay " in line]
    again = run(tmp_path, *shlex.split(line[line.index("palace-lab replay ") :])[1:])
    assert again.returncode == ExitCode.VIOLATED, again.stdout + again.stderr
    assert "[locked]" in again.stdout
    records = [
        json.loads(text)
        for text in (tmp_path / "reports" / "latest" / "results.jsonl").read_text().splitlines()
    ]
    assert {record["arm"] for record in records} == {"off", "fixed"}
    latest = tmp_path / "reports" / "latest"
    assert all((latest / record["plan"]).is_file() for record in records)
    assert all((latest / record["history"]).is_file() for record in records)


def begin_long_run(folder: Path) -> subprocess.Popen[str]:
    scenario(folder, "long", plan=PLAN, off="Fixes.none()")
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE + START, "run", "--trials", "400"],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        results = folder / "reports" / "latest" / "results.jsonl"
        if results.is_file() and len(results.read_bytes().splitlines()) >= 5:
            return process
        time.sleep(0.05)
    process.kill()
    raise AssertionError("five trials took more than 60 s")


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly)]
)
def test_ctrl_c_shows_what_is_there_and_leaves_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = begin_long_run(tmp_path)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED, output
    assert re.search(r"s2/long on sqlite", output)
    assert "go on: palace-lab run --resume " in output
    page = (tmp_path / "reports" / "latest" / "report.html").read_text()
    assert "interrupted; not got to" in page
    assert re.search(r" · reports/[^/]+/report\.html$", output, re.MULTILINE)
    assert "Traceback" not in output
    assert_nothing_left(tmp_path)


def test_a_report_that_is_taken_away_ends_the_run_with_one_sentence(tmp_path: Path) -> None:
    process = begin_long_run(tmp_path)
    taken = (tmp_path / "reports" / "latest").resolve()
    taken.rename(tmp_path / "elsewhere")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == ExitCode.UNKNOWN, output
    assert "Traceback" not in output
    said = [line for line in output.splitlines() if "the run broke off" in line]
    assert len(said) == 1
    assert f"palace-lab run --resume {taken}" in said[0]
    assert_nothing_left(tmp_path)


def test_a_killed_run_leaves_nothing_and_can_be_resumed(tmp_path: Path) -> None:
    process = begin_long_run(tmp_path)
    process.kill()
    process.communicate(timeout=60)
    assert_nothing_left(tmp_path, within_s=30)
    results = tmp_path / "reports" / "latest" / "results.jsonl"
    before = results.read_text().splitlines()
    done = run(tmp_path, "run", "--resume", "reports/latest", "--trials", "4")
    assert done.returncode in (ExitCode.PROMISED, ExitCode.UNKNOWN), done.stdout + done.stderr
    after = results.read_text().splitlines()
    assert [line for line in before if line.endswith("}")] == after[: len(before)]


@pytest.mark.nightly
def test_who_goes_on_need_not_say_again_what_was_asked(tmp_path: Path) -> None:
    for name in ("asked", "other"):
        scenario(tmp_path, name, plan=PLAN, off="Fixes.none()")
    first = run(tmp_path, "run", "s2/asked", "--trials", "2", "--seed", "77")
    assert first.returncode == ExitCode.PROMISED, first.stdout
    results = tmp_path / "reports" / "latest" / "results.jsonl"
    lines = results.read_text().splitlines()
    results.write_text("\n".join(lines[:-1]) + "\n")  # as if it had been interrupted
    second = run(tmp_path, "run", "--resume", "reports/latest")
    assert second.returncode == ExitCode.PROMISED, second.stdout
    assert "seed 77" in second.stdout
    assert "s2/other" not in second.stdout
    assert len(results.read_text().splitlines()) == len(lines)
    more = run(tmp_path, "run", "s2/other", "--resume", "reports/latest", "--trials", "1")
    assert "s2/other" in more.stdout
    assert "s2/asked" not in more.stdout


@pytest.mark.nightly
@pytest.mark.parametrize(
    "kept",
    [
        pytest.param(5, id="before-it-was-stretched"),
        pytest.param(9, id="while-it-was"),
    ],
)
def test_a_race_that_was_interrupted_is_decided_when_it_is_gone_on_with(
    tmp_path: Path, kept: int
) -> None:
    scenario(tmp_path, "race", plan=PLAN, off="Fixes.all()", probability="0.3")
    whole = run(tmp_path, "run", "s2/race")
    assert whole.returncode == ExitCode.GONE, whole.stdout + whole.stderr
    results = tmp_path / "reports" / "latest" / "results.jsonl"
    lines = results.read_text().splitlines()
    off = [line for line in lines if json.loads(line)["arm"] == "off"]
    assert len(off) > 9
    left = [line for line in lines if line not in off[kept:]]
    results.write_text("\n".join(left) + "\n")  # as if it had been interrupted
    done = run(tmp_path, "run", "--resume", "reports/latest")
    assert done.returncode == ExitCode.GONE, done.stdout + done.stderr
    again = [json.loads(line) for line in results.read_text().splitlines()]
    numbers = [(each["arm"], each["index"]) for each in again]
    assert sorted(numbers) == sorted(
        (each["arm"], each["index"]) for each in map(json.loads, lines)
    )


@pytest.mark.parametrize("text", ["[]", "{", '{"trials": "many"}', '{"names": "s2/none"}'])
def test_a_run_that_does_not_say_what_was_asked_is_refused(tmp_path: Path, text: str) -> None:
    scenario(tmp_path, "asked", plan=PLAN, off="Fixes.none()")
    directory = tmp_path / "reports" / "made"
    directory.mkdir(parents=True)
    (directory / "results.jsonl").touch()
    (directory / "asked.json").write_text(text)
    done = run(tmp_path, "run", "--resume", "reports/made")
    assert done.returncode == ExitCode.USAGE, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert (directory / "results.jsonl").read_text() == ""


def test_scratch_goes_where_it_is_told(tmp_path: Path) -> None:
    """The tests above look for leftovers in the right place."""
    assert Path(tempfile.gettempdir()).exists()
    scenario(tmp_path, "quick", plan=PLAN, off="Fixes.none()")
    assert run(tmp_path, "run", "--trials", "1").returncode == ExitCode.PROMISED
    assert_nothing_left(tmp_path)
