"""Scenarios as tests: what is collected, what a failure says, what a run leaves, and what not."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it is published without type information
import pytest

from palace_lab import catalog, pytest_plugin
from palace_lab.errors import ExitCode
from palace_lab.pytest_plugin import scenarios
from palace_lab.report.records import read_records
from palace_lab.scenario import SYSTEMS

sys.path.append(str(Path(__file__).parent / "entries"))
from whole_runs import INTERRUPTIBLE

#: As `python -m pytest` does it.
PYTEST = "import pytest; raise SystemExit(pytest.console_main())"

pytest_plugins = ("pytester",)

#: pytester gives its runs another HOME; environments that are built already are in this one.
HOME = os.environ.get("HOME", "")
WAIT_S = 60.0
#: Imported here, so that the runs inside this process need not import it again each time.
REST = scenarios.__name__

#: A transaction that has read, and then meets a committed peer: fails at once without fixes.
SCENARIO = '''
"""{sentence}"""
from palace_lab.plan import Plan
from palace_lab.plan.model import Process
from palace_lab.plan.steps import Begin, Do, Finish, Go, Paused
from palace_lab.scenario import SQLITE, Scenario, Wrong
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s2",
    plan=Plan(
        target="triples",
        observers=("triples",),
        processes=(Process("peer", may_refuse=True),),
        steps=(
            Do("writer", "add", {{"n": 1}}),
            Begin("writer", "end", {{"n": 1, "pauses": 1}}),
            Paused("writer", "between-read-and-write"),
            Do("peer", "intrude", {{"n": 1}}),
            Go("writer"),
            Finish("writer"),
        ),
    ),
    accepts={{SQLITE: "locked"}},
    releases=(SQLITE,),
    {rest}
)
'''
PROOF = "off=Fixes.none(), as_reported=Fixes.reported('kg'),"
GUARD = "wrong=Wrong('no fix at all', Fixes.none()),"

Add = Callable[..., Path]


@pytest.fixture
def add(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Add:
    """Return how to add a scenario to a project of its own, the lab's scratch space included."""
    scratch = pytester.path / "tmp"
    scratch.mkdir()
    monkeypatch.setenv("HOME", HOME)
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("PALACE_LAB_SEED", "GITHUB_ACTIONS", "GITHUB_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv(pytest_plugin.VARIABLE, raising=False)
    pytester.makeini(
        "[pytest]\naddopts = --strict-markers -p no:cacheprovider -p no:hypothesispytest\n"
    )

    def add_one(name: str, rest: str = PROOF, sentence: str = "Says what it is about.") -> Path:
        path = pytester.path / "scenarios" / "s2_made" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SCENARIO.format(sentence=sentence, rest=rest))
        return path

    return add_one


def ids(pytester: pytest.Pytester, *args: str) -> list[str]:
    """Return what a run would run, in alphabetical order."""
    result = pytester.runpytest_inprocess("--collect-only", "-q", *args)
    return sorted(line for line in result.outlines if "::" in line)


def run_directory(reports: Path) -> Path:
    """Return the one directory of a run below a folder of reports."""
    (found,) = (path for path in reports.iterdir() if not path.is_symlink())
    assert (reports / "latest").resolve() == found.resolve()
    return found


def processes_of(scratch: Path) -> list[str]:
    """Return the processes that name the scratch space: hosts, their workers and the janitor."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(str(scratch) in word for word in words):
            found.append(" ".join(words))
    return found


def nothing_left(pytester: pytest.Pytester, wait_s: float = WAIT_S) -> bool:
    """Tell whether a run left neither a process nor a directory, given the janitor's time."""
    scratch = pytester.path / "tmp"
    until = time.monotonic() + wait_s
    while list(scratch.glob("palace-lab-*")) or processes_of(scratch):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)  # a janitor is nobody's child here, so nothing tells of its end
    return True


def test_the_plugin_loads_nothing_of_the_lab_but_itself() -> None:
    program = (
        "import sys, palace_lab.pytest_plugin as plugin; "
        "print(*sorted(n for n in sys.modules if n.partition('.')[0] in "
        "('palace_lab', 'palace_store', 'msgspec', 'rich', 'click', 'numpy', 'psutil')))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert said.stdout.split() == [b"palace_lab", b"palace_lab.pytest_plugin"]


def test_what_the_plugin_repeats_is_what_the_lab_says() -> None:
    assert pytest_plugin.VARIABLE == catalog.VARIABLE
    assert pytest_plugin.REST == REST
    assert set(SYSTEMS) <= set(pytest_plugin._MARKERS)


@pytest.mark.usefixtures("add")  # for the environment only: no scenario is added
@pytest.mark.parametrize("args", [(), ("-n", "2")])
def test_a_run_without_a_scenario_is_left_alone(
    pytester: pytest.Pytester, args: tuple[str, ...]
) -> None:
    pytester.makepyfile(
        test_own="""
        import sys

        def test_own():
            assert "REST" not in sys.modules
        """.replace("REST", REST)
    )
    foreign = pytester.mkdir("scenarios")
    (foreign / "helpers.py").write_text("raise RuntimeError('not to be imported')")
    result = pytester.runpytest_subprocess(*args)
    result.assert_outcomes(passed=1)
    assert "palace lab" not in result.stdout.str()
    assert not (pytester.path / "reports").exists()
    assert list((pytester.path / "tmp").iterdir()) == []


def test_a_test_for_each_arm_with_a_telling_id(pytester: pytest.Pytester, add: Add) -> None:
    add("deferred_upgrade")
    add("stress", GUARD)
    path = "scenarios/s2_made"
    assert ids(pytester, "scenarios") == [
        f"{path}/deferred_upgrade.py::deferred-upgrade[sqlite-as-reported]",
        f"{path}/deferred_upgrade.py::deferred-upgrade[sqlite-fixed]",
        f"{path}/deferred_upgrade.py::deferred-upgrade[sqlite-off]",
        f"{path}/stress.py::stress[sqlite-fixed]",
        f"{path}/stress.py::stress[sqlite-wrong]",
    ]
    assert not (pytester.path / "reports").exists()


@pytest.mark.parametrize("how", ["scenarios", "scenarios/s2_made", "scenarios/s2_made/stress.py"])
def test_a_file_is_collected_once_however_it_is_named(
    pytester: pytest.Pytester, add: Add, how: str
) -> None:
    add("stress", GUARD)
    assert len(ids(pytester, how)) == 2
    assert len(ids(pytester, "--doctest-modules", how)) == 2
    one = "scenarios/s2_made/stress.py::stress[sqlite-fixed]"
    assert ids(pytester, one) == [one]


def test_every_release_asked_for_is_a_test(pytester: pytest.Pytester, add: Add) -> None:
    add("dated").write_text(
        add("dated").read_text().replace("(SQLITE,)", "('0.6.3', '1.0.21', '1.5.9')")
    )
    assert len(ids(pytester, "scenarios")) == 9
    chosen = ids(pytester, "scenarios", "--palace-release=1.5.9", "--palace-release", "v1.0.21")
    assert len(chosen) == 6
    assert not any("0.6.3" in each for each in chosen)
    assert [each.partition("[")[2] for each in ids(pytester, "-k", "off and 1.5.9")] == [
        "1.5.9-off]"
    ]


def test_a_folder_named_by_the_variable_is_collected(
    pytester: pytest.Pytester, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = add("stress", GUARD)
    elsewhere = pytester.mkdir("promises") / "s2_made" / "stress.py"
    elsewhere.parent.mkdir()
    path.rename(elsewhere)
    assert ids(pytester, "promises") == []
    monkeypatch.setenv(pytest_plugin.VARIABLE, str(pytester.path / "promises"))
    assert len(ids(pytester, "promises")) == 2


@pytest.mark.parametrize(
    ("args", "count"),
    [
        (("-m", "s2"), 5),
        (("-m", "s1"), 0),
        (("-m", "not slow"), 0),
        (("-m", "slow"), 5),
        (("-k", "off"), 1),
        (("-k", "fixed and sqlite"), 2),
        (("-k", "guard"), 2),
        (("-k", "as-reported or wrong"), 2),
        (("-k", "stress"), 2),
        (("-k", "s2/stress"), 2),
    ],
)
def test_tests_can_be_chosen(
    pytester: pytest.Pytester, add: Add, args: tuple[str, ...], count: int
) -> None:
    add("deferred_upgrade")
    add("stress", GUARD)
    assert len(ids(pytester, *args)) == count


def test_nightly_scenarios_are_deselected_unless_asked_for(
    pytester: pytest.Pytester, add: Add
) -> None:
    add("quick", GUARD)
    add("long", f"{GUARD} nightly=True,")
    quick = ids(pytester, "scenarios")
    assert [each.partition("::")[2] for each in quick] == [
        "quick[sqlite-fixed]",
        "quick[sqlite-wrong]",
    ]
    result = pytester.runpytest_inprocess("--collect-only", "scenarios")
    result.stdout.fnmatch_lines("*2/4 tests collected (2 deselected)*")
    assert len(ids(pytester, "scenarios", "--palace-nightly")) == 4
    assert len(ids(pytester, "scenarios", "-m", "nightly")) == 2
    assert len(ids(pytester, "scenarios", "-m", "s2 and not nightly")) == 2


def test_a_file_that_is_no_scenario_is_an_error_in_one_sentence(
    pytester: pytest.Pytester, add: Add
) -> None:
    add("stress", GUARD)
    (pytester.path / "scenarios" / "s2_made" / "odd.py").write_text("import palace_lab")
    result = pytester.runpytest_inprocess("scenarios")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*odd.py binds no `scenario`*"])
    assert "Traceback" not in result.stdout.str()
    assert not (pytester.path / "reports").exists()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--palace-release=9.9.9", "*there is no chromadb 9.9.9 here*"),
        ("--palace-trials=0", "*--palace-trials is 0; use a whole number from 1 on*"),
    ],
)
@pytest.mark.parametrize("args", [(), ("-n", "1")])
def test_an_option_that_makes_no_sense_is_a_usage_error(
    pytester: pytest.Pytester, add: Add, option: str, said: str, args: tuple[str, ...]
) -> None:
    add("stress", GUARD)
    result = pytester.runpytest_inprocess("scenarios", option, *args)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([said])


@pytest.mark.slow
@pytest.mark.parametrize("args", [("-p", "no:randomly"), ("-p", "randomly", "-n", "2")])
def test_a_run_writes_its_reports_and_leaves_nothing_else(
    pytester: pytest.Pytester, add: Add, args: tuple[str, ...]
) -> None:
    add("deferred_upgrade", sentence="A deferred transaction is refused at once.")
    add("stress", GUARD)
    result = pytester.runpytest_subprocess(
        "scenarios", "--palace-trials=2", "--palace-seed=7", "--palace-report-dir=out", *args
    )
    result.assert_outcomes(passed=5)
    run = run_directory(pytester.path / "out")
    result.stdout.fnmatch_lines(
        [
            "*palace lab*",
            "*seed 7*",
            "s2/deferred-upgrade*sqlite*REPRODUCED 2/2 locked*0/2*HELD 0/2*",
            "s2/stress*sqlite*guard: caught 2/2 locked*HELD 0/2*",
            f"*out/{run.name}: report.html, summary.md, junit.xml, results.jsonl, plans, histories",
            "1 proof reproduced and held, 1 guard held, 0 refused*",
        ]
    )
    assert sorted(path.name for path in run.iterdir()) == [
        "histories",
        "junit.xml",
        "plans",
        "report.html",
        "results.jsonl",
        "summary.md",
    ]
    records = read_records(run / "results.jsonl")
    assert sorted((each.scenario, each.arm, each.index) for each in records) == sorted(
        (scenario, arm, index)
        for scenario, arms in {
            "s2/deferred-upgrade": ("off", "as-reported", "fixed"),
            "s2/stress": ("wrong", "fixed"),
        }.items()
        for arm in arms
        for index in (0, 1)
    )
    for record in records:
        plan = (run / record.plan).read_bytes()
        assert hashlib.sha256(plan).hexdigest() == record.plan_sha256
        assert (run / record.history).stat().st_size > 0
    assert len(list((run / "plans").iterdir())) == len(records)
    suite = ET.fromstring((run / "junit.xml").read_text())  # noqa: S314 - our own file
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("5", "0", "0")
    assert "REPRODUCED 2/2 locked" in (run / "summary.md").read_text()
    # The run itself has cleaned up, not its janitor afterwards.
    assert nothing_left(pytester, wait_s=0)


@pytest.mark.slow
def test_a_failure_ends_with_a_line_that_shows_it_again(
    pytester: pytest.Pytester, add: Add
) -> None:
    add("unguarded", f"{GUARD} fixed=Fixes.none(),")
    result = pytester.runpytest_subprocess("scenarios", "--palace-trials=2", "-k", "fixed")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*unguarded?sqlite-fixed?*",
            "fixed: VIOLATED 2/2 locked",
            "outcomes of 2 trials: locked 2",
            "- *locked*",
            "see it again, alone:",
            "    palace-lab replay reports/*.json",
            "s2/unguarded*VIOLATED 2/2 locked*",
            "FAILED *unguarded?sqlite-fixed?*VIOLATED 2/2 locked",
        ]
    )
    assert "Traceback" not in result.stdout.str()
    # pytest repeats the whole message in its summary where CI is set.
    (line,) = {each.strip() for each in result.outlines if each.startswith("    palace-lab replay")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    again = subprocess.run(
        ["/bin/sh", "-c", line],  # as a person would do it
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": path},
        timeout=WAIT_S,
    )
    assert again.returncode == 1, again.stderr
    assert "locked" in again.stdout
    assert nothing_left(pytester)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rest", "trials", "said", "code"),
    [
        ("off=Fixes.all(),", 5, "off: GONE 0/5", ExitCode.GONE),
        ("off=Fixes.all(),", 2, "off: UNKNOWN 0/2", pytest.ExitCode.TESTS_FAILED),
        ("wrong=Wrong('nothing', Fixes.all()),", 5, "guard: VACUOUS 0/5", ExitCode.VACUOUS),
    ],
)
def test_what_could_not_fail_is_not_green(
    pytester: pytest.Pytester, add: Add, rest: str, trials: int, said: str, code: int
) -> None:
    add("harmless", rest)
    result = pytester.runpytest_subprocess(
        "scenarios", f"--palace-trials={trials}", "-k", "off or wrong"
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([said, "see it again, alone:", "    palace-lab replay *"])
    assert result.ret == code
    assert not [line for line in result.outlines if line.startswith("::")]


@pytest.mark.slow
@pytest.mark.parametrize("args", [(), pytest.param(("-n", "2"), marks=pytest.mark.nightly)])
def test_gone_is_the_exit_code_only_where_nothing_else_has_failed(
    pytester: pytest.Pytester, add: Add, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    path = add("harmless", "off=Fixes.all(),")
    name = path.relative_to(pytester.path).as_posix()
    arguments = ("--palace-trials=5", "-k", "off or plain", *args)
    result = pytester.runpytest_subprocess("scenarios", *arguments)
    assert result.ret == ExitCode.GONE
    (line,) = [line for line in result.outlines if line.startswith("::")]
    number = 1 + path.read_text().splitlines().index("scenario = Scenario(")
    at = f"file={name},line={number},title=s2/harmless sqlite off"
    assert line.startswith(f"::warning {at}::GONE 0/5; the unfixed library held")
    plain = pytester.path / "test_plain.py"
    plain.write_text("def test_plain(): assert False\n")
    result = pytester.runpytest_subprocess("scenarios", plain.name, *arguments)
    result.assert_outcomes(failed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.slow
def test_a_race_goes_on_until_it_is_decided(pytester: pytest.Pytester, add: Add) -> None:
    add("race", "off=Fixes.none(), probability=0.5,")
    result = pytester.runpytest_subprocess("scenarios", "-k", "off", "--palace-trials=1")
    result.assert_outcomes(passed=1)
    # Four of four are the fewest that tell a probability of one half from an eighth.
    result.stdout.fnmatch_lines(["s2/race*REPRODUCED 4/4*locked*"])
    assert len(read_records(run_directory(pytester.path / "reports") / "results.jsonl")) == 4


@pytest.mark.slow
def test_reports_that_cannot_be_written_are_a_usage_error(
    pytester: pytest.Pytester, add: Add
) -> None:
    add("stress", GUARD)
    (pytester.path / "reports").write_text("")
    for args in ((), ("-n", "1")):
        result = pytester.runpytest_subprocess("scenarios", *args)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*cannot write reports to *--palace-report-dir*"])
        assert nothing_left(pytester)


@pytest.mark.slow
@pytest.mark.parametrize("args", [(), ("-n", "2")])
def test_a_refused_environment_is_an_error_with_its_reason(
    pytester: pytest.Pytester, add: Add, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]
) -> None:
    home = pytester.path / "no-folder"
    home.write_text("")
    monkeypatch.setenv("PALACE_LAB_HOME", str(home))
    add("stress", GUARD)
    result = pytester.runpytest_subprocess("scenarios", *args)
    result.assert_outcomes(errors=2)
    assert result.ret == ExitCode.REFUSED
    result.stdout.fnmatch_lines(
        [
            "REFUSED: *no-folder*",
            "see it again, alone:",
            "    pytest 'scenarios/s2_made/stress.py::stress?sqlite-*' --palace-seed=1*",
            "0 proofs reproduced and held, 0 of 1 guard held, 1 refused*",
            "ERROR *REFUSED: *",
        ]
    )
    suite = ET.fromstring(  # noqa: S314 - our own file
        (run_directory(pytester.path / "reports") / "junit.xml").read_text()
    )
    assert (suite.get("failures"), suite.get("errors"), suite.get("skipped")) == ("0", "1", "0")
    assert nothing_left(pytester)


@pytest.mark.slow
def test_a_run_that_stops_early_says_what_it_did_not_get_to(
    pytester: pytest.Pytester, add: Add
) -> None:
    add("a_unguarded", f"{GUARD} fixed=Fixes.none(),")
    add("b_stress", GUARD)
    result = pytester.runpytest_subprocess(
        "scenarios", "-x", "-p", "no:randomly", "-k", "fixed", "--palace-trials=1"
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["not got to: *b-stress?sqlite-fixed?"])
    run = run_directory(pytester.path / "reports")
    assert "b-stress" in (run / "summary.md").read_text()
    assert nothing_left(pytester)


@pytest.mark.slow
def test_what_a_trial_leaves_behind_is_a_failure_once(pytester: pytest.Pytester, add: Add) -> None:
    pytester.makeconftest(
        """
        from palace_lab.runner.arena import Arena

        Arena.leaks = lambda arena: ["process 7 of writer (sleep) outlived its trial"]
        """
    )
    add("stress", GUARD)
    result = pytester.runpytest_subprocess("scenarios", "--palace-trials=1")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["left behind: process 7 of writer*", "see it again, alone:", "    palace-lab replay *"]
    )
    run = run_directory(pytester.path / "reports")
    assert (run / "junit.xml").read_text().count('name="leaks"') == 1


@pytest.mark.slow
@pytest.mark.parametrize("args", [(), pytest.param(("-n", "1"), marks=pytest.mark.nightly)])
def test_trouble_of_the_lab_itself_is_unknown_and_can_be_shown_again(
    pytester: pytest.Pytester, add: Add, args: tuple[str, ...]
) -> None:
    pytester.makeconftest(
        """
        import palace_lab.runner.bench as bench

        def broken(trial, *_, **__):
            raise RuntimeError("the lab has a bug")

        bench.record_of = broken
        """
    )
    add("stress", GUARD)
    result = pytester.runpytest_subprocess("scenarios", "-k", "fixed", *args)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*the lab has a bug*",
            "see it again, alone:",
            "    palace-lab replay *s2+stress--sqlite--fixed--0000.json",
            "s2/stress*sqlite*UNKNOWN 0/1 lab-error*",
        ]
    )
    assert nothing_left(pytester)


@pytest.mark.slow
def test_a_worker_that_dies_takes_neither_the_reports_nor_the_cleaning_with_it(
    pytester: pytest.Pytester, add: Add
) -> None:
    pytester.makeconftest(
        """
        import os
        import palace_lab.runner.bench as bench

        def deadly(trial, cell, *args, **kwargs):
            if cell.arm.role == "wrong":
                os.kill(os.getpid(), 9)
            return kept(trial, cell, *args, **kwargs)

        kept, bench.record_of = bench.record_of, deadly
        """
    )
    add("stress", GUARD)
    result = pytester.runpytest_subprocess("scenarios", "-n", "1", "--palace-trials=2")
    result.assert_outcomes(passed=1, failed=1)
    run = run_directory(pytester.path / "reports")
    assert [each.arm for each in read_records(run / "results.jsonl")] == ["fixed", "fixed"]
    result.stdout.fnmatch_lines(["s2/stress*guard: UNKNOWN 0/1 lab-error*HELD 0/2*"])
    assert "crashed while running" in (run / "summary.md").read_text()
    assert nothing_left(pytester)


@pytest.fixture
def started(pytester: pytest.Pytester) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Return how to start pytest in the project and go on."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*args: str) -> subprocess.Popen[bytes]:
        with (pytester.path / "output").open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", INTERRUPTIBLE + PYTEST, *args],
                cwd=pytester.path,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("args", [(), pytest.param(("-n", "2"), marks=pytest.mark.nightly)])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_leaves_nothing_behind(
    pytester: pytest.Pytester,
    add: Add,
    started: Callable[..., subprocess.Popen[bytes]],
    args: tuple[str, ...],
    number: signal.Signals,
) -> None:
    add("stress", GUARD)
    add("deferred_upgrade")
    process = started("scenarios", "--palace-trials=10000", *args)
    until = time.monotonic() + WAIT_S
    while not list(pytester.path.glob("reports/*/histories/*")):
        assert process.poll() is None, (pytester.path / "output").read_text()
        assert time.monotonic() < until, "no trial was done in time"
        time.sleep(0.05)
    # As a terminal does it: to every process of the group.
    os.killpg(process.pid, number)
    process.wait(WAIT_S)
    assert nothing_left(pytester)
    if number == signal.SIGINT:
        assert process.returncode == pytest.ExitCode.INTERRUPTED
        said = (pytester.path / "output").read_text()
        assert "not got to: " in said
        assert (
            "interrupted" in (run_directory(pytester.path / "reports") / "summary.md").read_text()
        )
