"""What a user types wrong is answered with one sentence and an exit code, and changes nothing."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from palace_lab.errors import ExitCode, UsageError
from palace_lab.plan import Plan, dump_plan
from palace_lab.plan.steps import write
from palace_lab.report.rundir import ASKED, RunDirectory, asked_in

CLONE = Path(__file__).resolve().parents[1]
START = "import sys; from palace_lab.cli import main; sys.argv[0] = 'palace-lab'; main()"


def palace_lab(
    *words: str, cwd: Path, timeout_s: float = 120, **environ: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", START, *words],
        cwd=cwd,
        env={**os.environ, "PALACE_LAB_SCENARIOS": str(CLONE / "scenarios"), **environ},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


WRONG = {
    "unknown scenario": (["run", "s1/kiled-in-pickle"], "did you mean s1/killed-in-pickle"),
    "unknown scenario to sweep": (["sweep", "s9/none"], "there is no scenario named"),
    "release that was never made": (["run", "--release", "1.5.4"], "1.5.5"),
    "release that is no number": (["run", "--release", "latest"], "no release of chromadb"),
    "environment that was never made": (["envs", "build", "3.3.3"], "nearest releases"),
    "plan that is not there": (["replay", "nowhere.json"], "cannot read the plan"),
    "plan that is none": (["replay", "broken.json"], "is not a plan"),
    "folder to keep that is there": (["replay", "good.json", "--keep", "."], "is there already"),
    "plan of another version": (["replay", "future.json"], "a plan of version 99"),
    "run that is none": (["run", "--resume", "."], "no directory of a run"),
    "arm that is not there": (["sweep", "s1/killed-in-pickle", "--arm", "wrong"], "has no arm"),
    "call that nothing is killed at": (
        ["sweep", "s1/killed-in-pickle", "--syscall", "nonsense"],
        "there is no crash point at 'nonsense'; choose from: write, ",
    ),
    "file that no path is": (
        ["sweep", "s1/killed-in-pickle", "--pattern", "state.json"],
        "write '*/state.json'",
    ),
    "scenario without a crash point": (["sweep", "s2/kg-holder"], "no crash point"),
    "report directory that is a file": (["run", "--report-dir", "broken.json"], "cannot write"),
    "no trials": (["run", "--trials", "0"], "not in the range"),
    "unknown command": (["rnu"], "No such command"),
    "empty path": (["diagnose", ""], "the path is empty: name one"),
    "empty path of a plan": (["replay", ""], "the path is empty: name one"),
    "empty path of an option": (["run", "--report-dir", ""], "the path is empty: name one"),
    "temperature that is none": (["soak", "--temperature-max", "nan"], "nan is no number"),
    "size that is none": (["soak", "--keep-gb", "nan"], "nan is no number"),
    "endless size": (["soak", "--keep-gb", "inf"], "inf is not in the range"),
    "unknown benchmark": (["bench", "speed"], "there are: writers"),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_input_is_one_sentence(case: str, tmp_path: Path) -> None:
    (tmp_path / "good.json").write_bytes(dump_plan(Plan(steps=(write("w", 1),))))
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "future.json").write_text('{"version": 99}')
    before = sorted(tmp_path.rglob("*"))
    words, expected = WRONG[case]
    done = palace_lab(*words, cwd=tmp_path)
    assert done.returncode == ExitCode.USAGE, done.stderr
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_seed_variable_that_is_no_number(tmp_path: Path) -> None:
    done = palace_lab("run", "s2/kg-holder", cwd=tmp_path, PALACE_LAB_SEED="zz")
    assert done.returncode == ExitCode.USAGE
    assert "PALACE_LAB_SEED" in done.stderr


def test_folder_of_scenarios_that_is_not_there(tmp_path: Path) -> None:
    done = palace_lab("list", cwd=tmp_path, PALACE_LAB_SCENARIOS=str(tmp_path / "none"))
    assert done.returncode == ExitCode.USAGE
    assert "no folder of scenarios" in done.stderr


def test_list_names_every_scenario_file(tmp_path: Path) -> None:
    done = palace_lab("list", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    files = [path for path in (CLONE / "scenarios").rglob("*.py") if path.name[0] != "_"]
    assert len(done.stdout.partition("\n\n")[0].splitlines()) == len(files)


def test_release_that_no_interpreter_here_can_run_is_refused(tmp_path: Path) -> None:
    """A home in which nothing can be built: refused by name, exit 7, and the table says so."""
    (tmp_path / "home").write_text("a file where a folder should be")
    done = palace_lab(
        "run",
        "s1/killed-in-pickle",
        "--release",
        "1.5.9",
        cwd=tmp_path,
        PALACE_LAB_HOME=str(tmp_path / "home"),
    )
    assert done.returncode == ExitCode.REFUSED, done.stderr
    assert "REFUSED" in done.stdout
    assert "1.5.9" in done.stdout
    assert 'type="refused"' in (tmp_path / "reports" / "latest" / "junit.xml").read_text()


HEALTHY = str(CLONE / "fixtures" / "chroma-1.5.9" / "palace")
#: Of each way to say something: click's, our console's, and before any command is begun.
SAYING = {
    "list": ["list"],
    "diagnose": ["diagnose", HEALTHY],
    "help": ["repro", "--help"],
}


def in_shell(line: str, *words: str, cwd: Path, **environ: str) -> tuple[int, str]:
    """Run `line` with "$@" for the command and its words; its code and standard error."""
    variables = {**os.environ, "PALACE_LAB_SCENARIOS": str(CLONE / "scenarios"), **environ}
    done = subprocess.run(
        ["/bin/sh", "-c", line, "sh", sys.executable, "-c", START, *words],
        cwd=cwd,
        env={name: value for name, value in variables.items() if value},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("case", SAYING)
def test_output_that_nobody_reads_ends_as_any_tool_does(
    tmp_path: Path, case: str, unbuffered: str
) -> None:
    # the reader is gone before the command says a word
    line = '{ read -r _; "$@"; echo $? >code; } <began | exec 3>began'
    os.mkfifo(tmp_path / "began")
    _, said = in_shell(line, *SAYING[case], cwd=tmp_path, PYTHONUNBUFFERED=unbuffered)
    code = int((tmp_path / "code").read_text())
    assert code == 128 + signal.SIGPIPE
    assert [line for line in said.splitlines() if not line.endswith(" so far")] == []


FULL = "No space left on device; make room, then ask again"
CLOSED = "it is closed; give it a file, a pipe or a terminal"
READ_ONLY = "Bad file descriptor; give it a file, a pipe or a terminal"


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("to", "told"), [(">/dev/full", FULL), (">&-", CLOSED), ("1</dev/null", READ_ONLY)]
)
@pytest.mark.parametrize("case", ["list", "diagnose"])
def test_output_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, case: str, to: str, told: str, unbuffered: str
) -> None:
    code, said = in_shell(f'"$@" {to}', *SAYING[case], cwd=tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert code == ExitCode.REFUSED
    *_, last = said.splitlines()  # on a slow machine it says before what it is doing
    assert last == f"palace-lab: where its output goes: {told}"
    assert "Traceback" not in said


@pytest.mark.parametrize("to", ["2>/dev/full", "2>&-"])
def test_an_error_that_nobody_hears_is_no_verdict(tmp_path: Path, to: str) -> None:
    code, _ = in_shell(f'"$@" {to}', "replay", "nowhere", cwd=tmp_path)
    assert code == (ExitCode.USAGE if to == "2>&-" else ExitCode.REFUSED)


def test_a_run_whose_output_nobody_reads_is_not_called_broken_off(tmp_path: Path) -> None:
    directory = RunDirectory.create(tmp_path)
    with pytest.raises(BrokenPipeError):
        directory.broke_off(BrokenPipeError(errno.EPIPE, "Broken pipe"))


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ASKED)
    with pytest.raises(UsageError, match=r"asked\.json is not a regular file; start a new run"):
        asked_in(tmp_path)


def test_a_folder_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    # the installed command: `python -c` looks for modules in the folder itself, and Python 3.13.0
    # cannot load an extension module from there once the folder is gone
    command = str(Path(sys.executable).with_name("palace-lab"))
    done = subprocess.run(
        ["/bin/sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", command, "list"],
        cwd=gone,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == ExitCode.USAGE
    (line,) = done.stderr.splitlines()
    assert "the folder this was started in cannot be used" in line
