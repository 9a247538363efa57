"""What GitHub shows at a scenario's line: which kind, where, how much, and nothing but text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from real import REAL

from palace_lab.catalog import Listed, load_scenario
from palace_lab.errors import ExitCode
from palace_lab.judge.results import ArmResult, Row, RunResult, TrialRecord, ViolationRecord
from palace_lab.judge.statistics import interval
from palace_lab.judge.verdict import Name, Verdict
from palace_lab.report.github import SHOWN_MAX, commands, line_of, wanted

ROOT = Path(__file__).parents[1]
NAME = "s1/killed-in-pickle"
FILE = "scenarios/s1_index_drift/killed_in_pickle.py"
COMMAND = re.compile(r"::(error|warning) ([^\n\r]*?)::([^\n\r]*)")


@pytest.fixture(autouse=True)
def workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(ROOT))


def row(name: Name, scenario: str = NAME, said: str = "a sentence") -> Row:
    violation = ViolationRecord("findable", "locked", said)
    trial = TrialRecord(
        scenario=scenario,
        system="s1",
        release="1.5.9",
        arm="off",
        index=0,
        seed=1,
        plan="plans/x.json",
        plan_sha256="0" * 64,
        history="",
        signature="locked",
        reached=True,
        goals={},
        violations=(violation,),
        exits={},
        seconds=0.1,
        written_bytes=1,
    )
    arm = ArmResult(
        "off", Verdict(name, 0, 1, (("locked", 1),), *interval(0, 1), "the reason"), (trial,)
    )
    return Row(scenario, "s1", "1.5.9", "A sentence.", is_guard=False, arms=(arm,))


def refused(why: str) -> Row:
    return Row(NAME, "s1", "0.5.23", "A sentence.", is_guard=False, refused=why)


def run(*rows: Row, leaks: tuple[str, ...] = (), interrupted: bool = False) -> RunResult:
    rest = ("s4/outage sqlite",) if interrupted else ()
    return RunResult(rows, "quick", 1, 5, 5, 1.0, leaks, interrupted, rest)


def shown(result: RunResult) -> list[str]:
    return commands(result, ROOT / "reports" / "a-run", REAL)


def test_what_is_as_promised_has_none() -> None:
    assert shown(run(row("REPRODUCED"), row("HELD"), row("OBSERVED"))) == []


def test_it_stands_at_the_line_on_which_the_scenario_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    (line,) = shown(run(row("VIOLATED")))
    number = line_of(ROOT / FILE)
    assert (ROOT / FILE).read_text().splitlines()[number - 1] == "scenario = Scenario("
    assert line == (
        f"::error file={FILE},line={number},title={NAME} 1.5.9 off::VIOLATED 0/1 locked 1; "
        "the reason%0Aa sentence [locked]%0Asee it again, alone: "
        "palace-lab replay reports/a-run/plans/x.json"
    )


@pytest.mark.parametrize("listed", REAL, ids=lambda each: each.name)
def test_every_scenario_has_such_a_line(listed: Listed) -> None:
    lines = listed.path.read_text(encoding="utf-8").splitlines()
    assert lines[line_of(listed.path) - 1].startswith("scenario = ")


@pytest.mark.parametrize(
    ("result", "kind", "said"),
    [
        (run(row("GONE")), "warning", "GONE 0/1"),
        (run(row("VIOLATED")), "error", "VIOLATED 0/1"),
        (run(row("VACUOUS")), "error", "VACUOUS 0/1"),
        (run(row("REFUSED")), "error", "REFUSED 0/1"),
        (run(refused("no Python, no wheel")), "error", "REFUSED: no Python, no wheel"),
        (run(row("HELD"), leaks=("process 7",)), "error", "process 7"),
        (run(row("HELD"), interrupted=True), "error", "not got to: s4/outage sqlite"),
        (run(), "error", "the run has no row, so it shows nothing"),
    ],
)
def test_the_kind_and_the_words(result: RunResult, kind: str, said: str) -> None:
    (line,) = shown(result)
    found = COMMAND.fullmatch(line)
    assert found is not None
    assert found[1] == kind
    assert found[3].startswith(said)


def test_the_worst_come_first_and_what_is_not_shown_is_counted() -> None:
    rows = [row("GONE"), *[row("FLAKY")] * 7, *[refused("why")] * 7, row("VIOLATED")]
    lines = shown(run(*rows))
    assert len(lines) == SHOWN_MAX + 1
    assert "VIOLATED" in lines[0]
    assert "FLAKY" in lines[1]
    assert lines[-2] == "::error title=palace-lab::and 6 more, in the job's summary"
    assert lines[-1].startswith("::warning ")
    assert len(shown(run(*[row("FLAKY")] * SHOWN_MAX))) == SHOWN_MAX


@given(st.text(), st.text())
def test_no_text_of_the_library_can_be_a_command_or_a_property(said: str, why: str) -> None:
    hostile = f"{said}\r\n::add-mask::x%0A::error line=1,file=y::z\u2028{why}"
    lines = shown(run(row("VIOLATED", said=hostile), refused(hostile)))
    assert len(lines) == 2
    for line in lines:
        found = COMMAND.fullmatch(line)
        assert found is not None
        names = [each.partition("=")[0] for each in found[2].split(",")]
        assert names == ["file", "line", "title"]
        assert re.sub(r"%(0A|0D|25|3A|2C)", "", line).count("%") == 0


def test_a_file_outside_of_the_checkout_is_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    (line,) = shown(run(row("GONE")))
    assert line.startswith(f"::warning title={NAME} 1.5.9 off::GONE")


def test_a_scenario_that_is_bound_in_another_way_stands_at_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "s1_mine" / "odd.py"
    path.parent.mkdir()
    source = (ROOT / FILE).read_text(encoding="utf-8")
    path.write_text(source.replace("scenario = Scenario(", "(scenario := Scenario(") + ")")
    assert load_scenario(path, tmp_path).name == "s1/odd"
    assert line_of(path) == 1


def test_they_are_for_github_alone() -> None:
    assert wanted({"GITHUB_ACTIONS": "true"})
    assert not wanted({"CI": "true"})
    assert not wanted({"GITHUB_ACTIONS": ""})


def test_gone_is_said_only_where_nothing_is_refused() -> None:
    assert run(row("GONE"), refused("why")).exit_code is ExitCode.REFUSED
    assert run(row("GONE")).exit_code is ExitCode.GONE
