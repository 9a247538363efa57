"""A public report by its name: what is run for it, when that ends, and what there is to paste."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from real import REAL as SCENARIOS

from palace_lab.catalog import VARIABLE, select
from palace_lab.checks.signatures import FAMILIES
from palace_lab.commands import repro
from palace_lab.commands.repro import narrowed, repro_command
from palace_lab.errors import ExitCode, UsageError
from palace_lab.judge.results import ArmResult, Row, RunResult, TrialRecord, ViolationRecord
from palace_lab.judge.statistics import SequentialTest, interval, running_interval
from palace_lab.judge.verdict import Role, Tried, judge
from palace_lab.plan import dump_plan
from palace_lab.plan.text import parse_plan
from palace_lab.report.repro import Reproduction, repro_text, restate
from palace_lab.report.words import fix_words, without_paths
from palace_lab.reported import TABLE, Report, find_report, find_reports, scenarios_of
from palace_lab.runner import campaign
from palace_lab.runner.bench import Bench
from palace_lab.runner.cells import STRETCH, Cell
from palace_lab.scenario import SQLITE
from palace_store.fixes import Fixes

CLONE = Path(__file__).resolve().parents[1]
REPORTS = find_reports(SCENARIOS, CLONE / "scenarios")
START = "import sys; from palace_lab.cli import main; sys.argv[0] = 'palace-lab'; main()"
HOME = Path("/people/anna")
#: What their trials do, scenarios do in the pull-request run as well.
LONG = ("mempalace#899", "mempalace#823", "mempalace#1000", "memtomem#707", "memory-server")

FILE = '''"""A thing breaks."""
from palace_lab.plan import Plan
from palace_lab.plan.steps import Do
from palace_lab.scenario import SQLITE, Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s2",
    reports=("mylib#12",),
    plan=Plan(target="triples", observers=("triples",), steps=(Do("writer", "add", {"n": 1}),)),
    off=Fixes.none(),
    as_reported=Fixes.reported("kg"),
    accepts={SQLITE: "locked"},
    releases=(SQLITE,),
    probability=PROBABILITY,
)
'''


# Names -------------------------------------------------------------------------------------------


def test_the_table_has_every_report_that_scenarios_name_and_no_other() -> None:
    named = {name for each in SCENARIOS for name in each.scenario.reports}
    table = {report.name for report in repro_table()}
    assert table == named == {report.name for report in REPORTS}
    assert {"mempalace#899", "mempalace#823", "mempalace#1000", "memtomem#707"} < table


def repro_table() -> list[Report]:
    """Return what the table says by itself."""
    alone = find_reports(
        [each for report in REPORTS for each in select(SCENARIOS, [report.leading])],
        CLONE / "scenarios",
    )
    return [each for each in alone if f'"{each.name}"' in (CLONE / "scenarios" / TABLE).read_text()]


@pytest.mark.parametrize("report", REPORTS, ids=lambda each: each.name)
def test_a_report_is_led_by_a_quick_proof_of_its_system(report: Report) -> None:
    leading = scenarios_of(report, SCENARIOS)[0]
    assert leading.name == report.leading
    assert leading.system == report.system
    assert not leading.scenario.is_guard
    assert not leading.scenario.nightly


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("mempalace#899", "mempalace#899"),
        (" MemPalace#899 ", "mempalace#899"),
        ("mempalace/899", "mempalace#899"),
        ("somebody/mempalace#899", "mempalace#899"),
        ("https://code.example/somebody/mempalace/issues/899", "mempalace#899"),
        ("https://code.example/somebody/mempalace/pull/1000/", "mempalace#1000"),
        ("#948", "mempalace#948"),
        ("707", "memtomem#707"),
        ("s0", "mempalace#899"),
        ("Memory-Server", "memory-server"),
    ],
)
def test_a_report_answers_to_what_people_write(said: str, meant: str) -> None:
    assert find_report(said, REPORTS).name == meant


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("s1", "more than one report: mempalace#823, mempalace#1000"),
        ("mempalace#898", "did you mean mempalace#948, mempalace#899"),
        ("memtomem#899", "there is no report named"),
        ("[red]no such\x1b[0m", r"\x1b"),
        ("", "shows all 6"),
        ("../../etc/899", "there is no report named"),
    ],
)
def test_another_name_is_refused_in_one_sentence(said: str, answer: str) -> None:
    with pytest.raises(UsageError, match=re.escape(answer)) as refused:
        find_report(said, REPORTS)
    assert len(str(refused.value).splitlines()) == 1


def test_one_number_of_two_projects_is_not_guessed() -> None:
    reports = [Report("one#7", "s1", "", ""), Report("two#7", "s2", "", "")]
    assert find_report("two/7", reports).system == "s2"
    with pytest.raises(UsageError, match="one#7, two#7"):
        find_report("#7", reports)


@pytest.mark.parametrize(
    ("table", "answer"),
    [
        ("{", "is no table of reports"),
        ("\xff\xfe", "is no table of reports"),
        ('[{"name": "a#1"}]', "is no table of reports"),
        (
            '[{"name": "a#1", "system": "s1", "title": "t", "leading": "s1/none"}]',
            "lets 's1/none' lead 'a#1'",
        ),
        (
            '[{"name": "a#1", "system": "s0", "title": "t", "leading": "s0/stale-writer"}]',
            "names 'a#1' in its `reports`",
        ),
    ],
)
def test_a_table_that_is_wrong_is_refused(tmp_path: Path, table: str, answer: str) -> None:
    (tmp_path / TABLE).write_bytes(table.encode("latin-1"))
    with pytest.raises(UsageError, match=re.escape(answer)):
        find_reports(SCENARIOS, tmp_path)


def test_without_a_table_the_first_scenario_leads(tmp_path: Path) -> None:
    found = {report.name: report for report in find_reports(SCENARIOS, tmp_path)}
    assert set(found) == {report.name for report in REPORTS}
    report = found["memtomem#707"]
    assert report.leading == min(each.name for each in SCENARIOS if each.system == "s3")
    assert report.title == scenarios_of(report, SCENARIOS)[0].sentence


# Releases ----------------------------------------------------------------------------------------


def releases(names: list[str], asked: list[str], built: list[str] | None = None) -> list[str]:
    found = narrowed(select(SCENARIOS, names), asked, built=built)
    return [release for each in found for release in each.scenario.releases]


def test_a_scenario_runs_on_the_newest_of_its_releases_or_on_those_asked_for() -> None:
    assert releases(["s0/stale-writer"], []) == ["1.5.9"]
    assert releases(["s0/stale-writer"], ["1.0.21"]) == ["1.0.21"]
    assert releases(["s1/quarantine"], ["0.6.3", "1.5.9"]) == ["0.6.3", "1.5.9"]
    assert releases(["s2/kg-holder", "s1/quarantine"], []) == [SQLITE, "1.5.9"]


def test_offline_takes_the_newest_that_is_built() -> None:
    assert releases(["s1/quarantine"], [], built=["0.6.3", "1.0.21"]) == ["1.0.21"]
    assert releases(["s1/quarantine"], [], built=[]) == ["1.5.9"]  # refused later, by name


def test_a_release_the_scenario_is_not_about_is_refused_with_those_it_is() -> None:
    with pytest.raises(UsageError, match=r"on chromadb 0\.6\.3; it is about 1\.0\.21, 1\.5\.9"):
        releases(["s0/stale-writer"], ["0.6.3"])


# The command, its trials played for it -----------------------------------------------------------


class Played:
    """Stands in for arena, environments and trials; what an arm shows is told beforehand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.shows: dict[str, Callable[[int], str]] = {
            "off": lambda _: "locked",
            "as-reported": lambda _: "held",
            "fixed": lambda _: "held",
        }
        self.now_s = 0.0
        self.done: list[tuple[str, int]] = []
        self.folder = folder
        environment = SimpleNamespace(
            release="1.5.9", python=Path(sys.executable), python_version="3.11.2"
        )
        monkeypatch.chdir(folder)
        monkeypatch.setattr(repro, "provide", lambda *_, **__: ([environment], {}))
        monkeypatch.setattr(repro, "Arena", lambda *_, **__: nullcontext(self))
        monkeypatch.setattr(Bench, "trial", self._trial)
        monkeypatch.setattr(campaign, "time", SimpleNamespace(monotonic=lambda: self.now_s))

    def leaks(self) -> tuple[str, ...]:
        return ()

    def interrupt(self) -> None:
        pass

    def _trial(self, cell: Cell, index: int) -> TrialRecord:
        self.now_s += 1.0
        self.done.append((cell.arm.role, index))
        plan = cell.undisturbed_plan().changed(seed=cell.trial_seed(index))
        name = f"plans/{cell.arm.role}-{index}.json"
        run = (self.folder / "reports" / "latest").resolve()
        (run / name).write_bytes(dump_plan(plan))
        outcome = self.shows[cell.arm.role](index)
        return record(cell.arm.role, index, outcome, scenario=cell.listed.name, plan=name)

    def repro(self, *words: str) -> int:
        code = repro_command.main(["mylib#12", "--jobs", "1", *words], standalone_mode=False)
        assert isinstance(code, int)
        return code

    def markdown(self) -> str:
        return (self.folder / "reports" / "latest" / "repro.md").read_text(encoding="utf-8")

    def counts(self) -> dict[str, int]:
        roles = [role for role, _ in self.done]
        return {role: roles.count(role) for role in self.shows}


@pytest.fixture
def played(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> Played:
    probability = getattr(request, "param", None)
    place = tmp_path / "scenarios" / "s2_mine"
    place.mkdir(parents=True)
    (place / "breaks.py").write_text(FILE.replace("PROBABILITY", repr(probability)))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "scenarios"))
    return Played(monkeypatch, tmp_path)


def record(
    role: str, index: int, outcome: str, *, scenario: str = "s2/x", plan: str = "p", said: str = ""
) -> TrialRecord:
    error = said or "the host did not answer" if outcome == "lab-error" else ""
    signature = None if outcome == "held" else outcome
    return TrialRecord(
        scenario=scenario,
        system="s2",
        release=SQLITE,
        arm=role,
        index=index,
        seed=7 + index,
        plan=plan,
        plan_sha256="ab" * 32,
        history="",
        signature=signature,
        reached=True,
        goals={},
        violations=(ViolationRecord("c", outcome, said or "it broke"),) if signature else (),
        exits={},
        seconds=float(index),
        written_bytes=1,
        lab_error=error,
    )


def test_what_is_there_to_paste_goes_to_standard_output_and_the_rest_does_not(
    played: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    assert played.repro("--seed", "5") == ExitCode.PROMISED
    out, err = capsys.readouterr()
    assert out == played.markdown()
    assert out.startswith("## mylib\\#12: A thing breaks.\n")
    assert "trials/s" in err
    assert "REPRODUCED 5/5" in err
    assert "\x1b" not in out + err
    assert "| off | REPRODUCED | 5/5 | 38-100 % | locked 5 |" in out  # not 47: no n was fixed
    assert "| as reported | OBSERVED | 0/5 |" in out
    assert "| fixed | HELD | 0/5 |" in out
    assert "| 2.0 s |" in out  # the median of 0, 1, 2, 3, 4
    assert "off: none · as reported: only `kg_" in out
    assert " · fixed: all." in out


@pytest.mark.parametrize(
    ("fixes", "told"),
    [
        (Fixes.none(), "none"),
        (Fixes.all(), "all"),
        (Fixes.all().without("lease", "trim"), "all but `lease`, `trim`"),
        (Fixes.reported("quarantine"), "only `quarantine=reported`"),
        (Fixes.parse(["lease", "trim"]), "only `lease`, `trim`"),
    ],
)
def test_which_fixes_are_on_is_said_in_few_words(fixes: Fixes, told: str) -> None:
    assert fix_words(fixes) == told


def test_the_command_it_prints_is_one_that_does_the_same(played: Played) -> None:
    played.repro("-n", "3", "--seed", "5", "--budget", "1h")
    (line,) = re.findall(r"^palace-lab repro .*$", played.markdown(), re.MULTILINE)
    words = shlex.split(line)[2:]
    context = repro_command.make_context("repro", list(words))
    given = {name: value for name, value in context.params.items() if value}
    assert given == {"name": "mylib#12", "trials": 3, "budget": 3600.0, "seed": 5, "jobs": 1}


def test_a_number_that_is_given_is_kept_to(played: Played) -> None:
    played.repro("-n", "3")
    assert played.counts() == {"off": 3, "as-reported": 3, "fixed": 3}
    assert "Trials of each arm: 3, fixed beforehand" in played.markdown()
    assert "| off | REPRODUCED | 3/3 | 29-100 % |" in played.markdown()


@pytest.mark.parametrize("played", [0.3], indirect=True)
def test_a_race_goes_on_until_the_test_has_decided_on_each_arm(played: Played) -> None:
    played.shows["off"] = lambda index: "locked" if index % 3 == 0 else "held"
    assert played.repro() == ExitCode.PROMISED
    test = SequentialTest(0.3)
    for role, failures in (("off", lambda n: -(-n // 3)), ("fixed", lambda _: 0)):
        n = played.counts()[role]
        assert n > 5
        assert test.decide(failures(n), n) != "undecided"
        assert test.decide(failures(n - 1), n - 1) == "undecided"


@pytest.mark.parametrize("played", [0.3], indirect=True)
def test_a_number_that_is_given_is_kept_to_by_a_race_too(played: Played) -> None:
    played.shows["off"] = lambda index: "locked" if index % 3 == 0 else "held"
    assert played.repro("-n", "4") == ExitCode.UNKNOWN
    assert set(played.counts().values()) == {4}


@pytest.mark.parametrize("played", [0.5], indirect=True)
def test_a_race_that_nothing_decides_ends(played: Played) -> None:
    played.shows["off"] = lambda index: "locked" if index % 4 == 0 else "held"
    played.repro()
    assert max(played.counts().values()) <= max(STRETCH * 5, SequentialTest(0.5).enough())


def test_when_the_time_is_over_what_is_undecided_is_said_to_be(played: Played) -> None:
    assert played.repro("--budget", "5s") == ExitCode.UNKNOWN
    assert played.counts() == {"off": 2, "as-reported": 2, "fixed": 1}  # they take turns
    text = played.markdown()
    assert "Not all is as promised (exit code 3" in text
    assert "| off | UNKNOWN | 2/2 |" in text
    assert "2 of 5 trials were made, which decides nothing" in text


def test_what_was_decided_when_the_time_was_over_stands(played: Played) -> None:
    assert played.repro("--budget", "12s") == ExitCode.PROMISED
    assert played.counts() == {"off": 4, "as-reported": 4, "fixed": 4}
    assert "| off | REPRODUCED | 4/4 |" in played.markdown()


def test_a_broken_promise_needs_no_more_time(played: Played) -> None:
    played.shows["fixed"] = lambda _: "locked"
    assert played.repro("--budget", "3s") == ExitCode.VIOLATED


def test_a_row_that_was_not_begun_is_named(played: Played) -> None:
    (played.folder / "scenarios" / "s2_mine" / "later.py").write_text(
        FILE.replace("PROBABILITY", "None")
    )
    assert played.repro("--all", "--budget", "14s") == ExitCode.UNKNOWN
    assert "The time was over before these were decided:\n\n- s2/later on sqlite" in (
        played.markdown()
    )


@pytest.mark.parametrize(
    ("shows", "code"),
    [
        ("held", ExitCode.GONE),
        ("silent-row-loss", ExitCode.UNKNOWN),
        ("lab-error", ExitCode.UNKNOWN),
    ],
)
def test_what_did_not_show_has_an_exit_code_of_its_own(
    played: Played, shows: str, code: ExitCode
) -> None:
    played.shows["off"] = lambda _: shows
    assert played.repro() == code
    assert f"Not all is as promised (exit code {int(code)}" in played.markdown()


@pytest.mark.parametrize("played", [0.9], indirect=True)
def test_a_race_that_shows_too_rarely_is_not_reproduced(played: Played) -> None:
    played.shows["off"] = lambda index: "locked" if index == 3 else "held"
    assert played.repro() == ExitCode.VACUOUS
    assert "| off | NOT REPRODUCED | 1/" in played.markdown()


def test_interrupted_it_prints_nothing_to_paste_and_how_to_go_on(
    played: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: int) -> str:
        raise KeyboardInterrupt

    played.shows["fixed"] = interrupt
    assert played.repro() == ExitCode.INTERRUPTED
    out, err = capsys.readouterr()
    assert not out
    assert "go on: palace-lab repro --resume reports/" in err
    assert "It was interrupted before these were decided:" in played.markdown()


def test_it_goes_on_where_it_was(played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    played.repro("--seed", "9", "--budget", "5s")
    assert played.repro("--resume", "reports/latest", "--budget", "1h") == ExitCode.PROMISED
    assert "seed 9" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["0", "-5m", "5 parsecs", "5m3", "", "nan", "1e9", "m5", "5mm"])
def test_a_budget_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no duration: write"):
        repro_command.make_context("repro", ["x", "--budget", text])


# What is pasted ----------------------------------------------------------------------------------

HOSTILE = (
    f"{HOME}/my palace/chroma.sqlite3 | x `a` ``` \n</details> @someone #1 <b> /data/anna/x.bin "
    "~/secret/place GET /changes \x1b[31m"
)


def arm(role: Role, seen: list[str], *, p: float | None = None, said: str = "") -> ArmResult:
    trials = tuple(record(role, i, outcome, said=said) for i, outcome in enumerate(seen))
    tried = [Tried(each.signature, each.reached, each.lab_error) for each in trials]
    verdict = judge(role, tried, accepts=frozenset({"locked"}), probability=p)
    return ArmResult(role, verdict, trials)


def result(*arms: ArmResult, refused: str = "") -> RunResult:
    row = Row("s2/x", "s2", SQLITE, "A | sentence.", is_guard=False, arms=arms, refused=refused)
    return RunResult((row,), "repro", 1, 5, 5, 1.0)


def made(directory: Path, *made_with: str, n: int | None = None) -> Reproduction:
    (directory / "p").write_text('{"release": "1.5.9", "a": "```"}\n')
    return Reproduction(
        "mylib#12", "A | title", "palace-lab repro x", made_with, directory, (HOME,), n
    )


def outside_of_fences(text: str) -> str:
    """Return what Markdown reads as Markdown, by the rules of fenced blocks."""
    kept: list[str] = []
    fence = ""
    for line in text.splitlines():
        begins = re.match(r"`{3,}", line)
        if fence:
            fence = "" if line == fence else fence
        elif begins:
            fence = begins[0]
        else:
            kept.append(line)
    assert not fence, "a block that nothing closes"
    return "\n".join(kept)


def test_what_the_library_says_cannot_leave_its_block(tmp_path: Path) -> None:
    arms = (
        arm("off", ["locked", "a|b`c"], said=HOSTILE),
        arm("fixed", ["lab-error"], said=HOSTILE),
    )
    text = repro_text(result(*arms), made(tmp_path, f"made in {HOME}/lab"))
    outside = outside_of_fences(text)
    assert "@someone" in text
    assert "@someone" not in outside
    assert "<b>" not in outside
    assert "\x1b" not in text
    assert outside.count("</details>") == outside.count("<details>") == 1
    refused = repro_text(result(refused="```"), made(tmp_path))
    assert "Made with:" in outside_of_fences(refused)


def test_no_text_names_a_place_of_this_machine(tmp_path: Path) -> None:
    arms = (arm("off", ["locked"], said=HOSTILE), arm("fixed", ["lab-error"], said=HOSTILE))
    for each in (result(*arms), result(refused=f"{HOME}/.cache cannot be written: {tmp_path}/a")):
        text = repro_text(each, made(tmp_path, f"{HOME}/lab", f"on {tmp_path}"))
        for private in ("anna", str(HOME), str(tmp_path), "/data", "~/", "secret"):
            assert private not in text, private
        assert "…" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/var/lib/x1/palace/chroma.sqlite3: gone", "…/chroma.sqlite3: gone"),
        ("in /people/anna", "in …"),
        ("'/srv/a/b/data_level0.bin'", "'…/data_level0.bin'"),
        ("file:///srv/a/b", "file://…"),
        ("and/or 5/5 s1/quarantine GET /changes", "and/or 5/5 s1/quarantine GET /changes"),
        ("/own/x", "…"),
        ("/owned", "/owned"),
    ],
)
def test_of_a_path_only_the_kind_of_file_is_left(text: str, shown: str) -> None:
    assert without_paths(text, [Path("/own"), Path("/")]) == shown


def test_every_table_is_one(tmp_path: Path) -> None:
    arms = (arm("off", ["locked", "a|b", "held"]), arm("as-reported", ["held"]), arm("fixed", []))
    text = outside_of_fences(repro_text(result(*arms), made(tmp_path)))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 5
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {7}
    head = text.splitlines().index(rows[0])
    assert text.splitlines()[head - 1] == ""  # or else it is no table to GitHub
    assert text.splitlines()[head + 1] == rows[1]


def test_intervals_hold_for_how_the_trials_ended(tmp_path: Path) -> None:
    raced = result(arm("off", ["locked"] * 4, p=0.9), arm("fixed", ["held"] * 4))
    for n_given, bounds in ((4, interval), (None, running_interval), (5, running_interval)):
        for each in restate(raced, n_given).rows[0].arms:
            assert (each.verdict.low, each.verdict.high) == bounds(each.verdict.k, 4)
    assert "fixed beforehand" in repro_text(raced, made(tmp_path, n=4))
    cut = repro_text(raced, made(tmp_path, n=5))
    assert "Of the 5 trials of each arm some were not made" in cut
    assert "fixed beforehand" not in cut


def test_one_trial_goes_with_it_in_full(played: Played) -> None:
    played.repro()
    (plan,) = re.findall(r"<<'PLAN'\n(.*?)^PLAN$", played.markdown(), re.MULTILINE | re.DOTALL)
    first = played.folder / "reports" / "latest" / "plans" / "off-0.json"
    assert plan.encode() == first.read_bytes()
    assert parse_plan(plan.encode(), "pasted").arm == "off"


def test_a_plan_that_is_too_long_is_left_out_and_said_to_be(tmp_path: Path) -> None:
    given = made(tmp_path)
    (tmp_path / "p").write_text(json.dumps({"name": "x" * 20_001}))
    text = repro_text(result(arm("off", ["locked"])), given)
    assert "is too long to stand here" in text
    assert "xxx" not in text


def test_how_the_trials_ended_and_what_was_shortened_is_said_as_it_was(tmp_path: Path) -> None:
    given = made(tmp_path)
    usual = repro_text(result(arm("off", ["locked"] * 5), arm("fixed", ["held"] * 5)), given)
    assert "An arm has 5 trials" in usual
    assert "sequential" not in usual
    assert "shortened" not in usual
    (tmp_path / "p").write_text('{"release": "1.5.9", "time_scale": 0.2}')
    race = repro_text(result(arm("off", ["locked"] * 6, p=0.5)), given)
    assert "sequential test" in race
    assert "shortened to 0.2 of their length" in race


def test_what_is_said_first_is_what_the_trial_counts_as(tmp_path: Path) -> None:
    both = (ViolationRecord("b", "locked", "the lock"), ViolationRecord("a", "phantom", "a ghost"))
    (trial,) = arm("off", ["locked"]).trials
    for violations in (both, both[::-1]):
        told = msgspec.structs.replace(trial, violations=violations)
        red = replace(arm("off", ["locked"]), trials=(told, told))
        text = repro_text(result(red), made(tmp_path))
        assert re.findall(r"off: (the lock|a ghost)", text) == ["the lock", "a ghost"]


# For real ----------------------------------------------------------------------------------------


def palace_lab(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", START, *words],
        cwd=cwd,
        env={**os.environ, VARIABLE: str(CLONE / "scenarios")},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def test_an_unknown_report_writes_nothing(tmp_path: Path) -> None:
    for words, answer in ((["mempalace#99"], "there is no report named"), ([], "name a report")):
        done = palace_lab("repro", *words, cwd=tmp_path)
        assert done.returncode == ExitCode.USAGE
        assert answer in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not done.stdout
        assert not list(tmp_path.iterdir())


def test_the_list_has_a_line_for_every_report_that_fits_a_terminal(tmp_path: Path) -> None:
    done = palace_lab("list", cwd=tmp_path)
    scenarios, reports = done.stdout.split("\n\n")
    assert len(scenarios.splitlines()) == len(SCENARIOS)
    head, *lines = reports.splitlines()
    assert [line.split()[0] for line in lines] == [report.name for report in REPORTS]
    assert max(map(len, [head, *lines])) <= 80


def faces_of(signature: str) -> frozenset[str]:
    """Return by which signatures one and the same cause may show itself."""
    kin = (family for family in FAMILIES.values() if signature in family)
    return next(kin, frozenset({signature}))


def without_measures(text: str) -> list[str]:
    """Leave out what is another at every run: seconds, load, what the library said.

    So is the state of the checkout, where somebody works in it between the two.
    And which of its calls a crash share is: chromadb's own threads make one more now and then.
    The file is torn at another byte then, so that a ruined index may show another of its faces.
    """
    text = re.sub(r'"k": \d+|`[0-9a-f]{64}`', "", text)
    for family, members in FAMILIES.items():
        text = re.sub(rf"\b(?:{'|'.join(sorted(members))})\b(?= 1 \||\))", family, text)
    text = re.sub(r"[\d.]+ s \|", "s |", text)
    text = re.sub(r"load [\d., ]+", "load", text)
    text = re.sub(r"commit [0-9a-f]+(?: with changes of its own)?", "commit", text)
    return re.sub(r"```text\n.*?```", "", text, flags=re.DOTALL).splitlines()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            each["name"],
            marks=[
                getattr(pytest.mark, each["system"]),
                *([pytest.mark.nightly] if each["name"] in LONG else []),
            ],
        )
        for each in json.loads((CLONE / "scenarios" / TABLE).read_text())
    ],
)
def test_a_report_shows_and_what_is_pasted_shows_it_again(tmp_path: Path, name: str) -> None:
    done = palace_lab("repro", name, "-n", "1", "--seed", "3", cwd=tmp_path)
    assert done.returncode == ExitCode.PROMISED, done.stdout + done.stderr
    shown = r"^\| off \| REPRODUCED \| 1/1 \| 2\.5-100 % \| ([a-z-]+) 1 \|"
    (signature,) = re.findall(shown, done.stdout, re.MULTILINE)
    assert "| fixed | HELD | 0/1 |" in done.stdout
    assert str(tmp_path) not in done.stdout
    assert str(CLONE) not in done.stdout

    (line,) = re.findall(r"^palace-lab repro .*$", done.stdout, re.MULTILINE)
    again = palace_lab(*shlex.split(line)[1:], cwd=tmp_path)
    assert without_measures(again.stdout) == without_measures(done.stdout), again.stdout

    (alone,) = re.findall(r"^palace-lab replay .*?^PLAN$", done.stdout, re.MULTILINE | re.DOTALL)
    program = shlex.join([sys.executable, "-c", START])
    alone_again = subprocess.run(
        ["/bin/sh", "-c", alone.replace("palace-lab", program, 1)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    said = alone_again.stdout
    assert alone_again.returncode == ExitCode.VIOLATED, said + alone_again.stderr
    assert any(f"[{face}]" in said for face in faces_of(signature)), said
