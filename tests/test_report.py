"""What a run tells its user: table, facts under it, progress, summary.md, junit.xml, exit codes."""

from __future__ import annotations

import io
import itertools
import math
import os
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palace_lab.errors import ExitCode
from palace_lab.judge.results import ArmResult, Row, RunResult, TrialRecord, ViolationRecord
from palace_lab.judge.statistics import interval, running_interval
from palace_lab.judge.verdict import Name, Role, Tried, Verdict, judge
from palace_lab.report import facts, words
from palace_lab.report.console import Console
from palace_lab.report.html_page import write_page
from palace_lab.report.junit import write_junit
from palace_lab.report.summary import summary_text, write_summary
from palace_lab.report.table import Cell, fold, header, layout, table
from palace_lab.report.terminal import QUIET_S, RunProgress

NAMES: tuple[Name, ...] = get_args(Name)
GOOD = ("REPRODUCED", "HELD", "OBSERVED")
LOST = "writer 2 was told ok for drawer 41 at 3.182 s; the index does not find it"
SCENARIO = "s1/killed-in-data-level0"
TEXTS = st.text(max_size=40)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def record(role: str, index: int, outcome: str, scenario: str, sentence: str) -> TrialRecord:
    error = "the host did not answer" if outcome == "lab-error" else ""
    signature = None if outcome in ("held", "not-reached") else outcome
    return TrialRecord(
        scenario=scenario,
        system="s1",
        release="1.5.9",
        arm=role,
        index=index,
        seed=7,
        plan=f"plans/{role}-{index}.json",
        plan_sha256="0" * 64,
        history="",
        signature=signature,
        reached=outcome != "not-reached",
        goals={},
        violations=(ViolationRecord("c", outcome, sentence),) if signature and not error else (),
        exits={},
        seconds=0.5,
        written_bytes=1_500_000,
        lab_error=error,
    )


def arm(
    role: Role,
    seen: list[str],
    *,
    p: float | None = None,
    scenario: str = SCENARIO,
    sentence: str = LOST,
) -> ArmResult:
    """One arm, judged for real; an off arm is expected to lose vectors silently."""
    trials = tuple(record(role, i, outcome, scenario, sentence) for i, outcome in enumerate(seen))
    tried = [Tried(each.signature, each.reached, each.lab_error) for each in trials]
    verdict = judge(role, tried, accepts=frozenset({"silent-vector-loss"}), probability=p)
    return ArmResult(role, verdict, trials)


def row(*arms: ArmResult, scenario: str = SCENARIO, refused: str = "") -> Row:
    is_guard = any(each.role == "wrong" for each in arms)
    return Row(scenario, "s1", "1.5.9", "A sentence.", is_guard, arms, refused)


def run(*rows: Row, leaks: tuple[str, ...] = (), interrupted: bool = False) -> RunResult:
    unfinished = ("s2/open sqlite",) if interrupted else ()
    return RunResult(rows, "quick", 42, 5, 20, 192.3, leaks, interrupted, unfinished)


def named(name: Name, role: Role = "off", reason: str = "the reason") -> ArmResult:
    """One arm with a given verdict, whatever the judge would say."""
    verdict = Verdict(name, 2, 5, (("held", 3), ("locked", 2)), *interval(2, 5), reason)
    return ArmResult(role, verdict, (record(role, 0, "locked", SCENARIO, LOST),))


LOSS, HELD = ["silent-vector-loss"], ["held"]
PROOF = row(arm("off", LOSS * 5), arm("as-reported", LOSS * 5), arm("fixed", HELD * 5))
LONG = row(
    arm("off", LOSS * 12 + HELD * 28, p=0.3),
    arm("as-reported", LOSS * 3 + HELD * 97),
    arm("fixed", HELD * 100),
    scenario="s1/two-writers-race-at-the-defaults",
)
GUARD = row(arm("wrong", LOSS * 5), arm("fixed", HELD * 5), scenario="s1/healthy-left-alone")
FINE = run(PROOF, LONG, GUARD)
ALL_VERDICTS = run(*(row(named(name), scenario=f"s1/{name.lower()}") for name in NAMES))


def printed(result: RunResult, directory: Path, *, width: int = 0, **environ: str) -> str:
    """What is printed at the end: to a pipe, or to a terminal of some width."""
    file = Terminal() if width else io.StringIO()
    Console(file, width=width or None, environ={"TERM": "xterm", **environ}).result(
        result, directory
    )
    return file.getvalue()


# Words ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0.0 s"),
        (4.13, "4.1 s"),
        (59.94, "59.9 s"),
        (59.96, "1 m 00 s"),
        (192.3, "3 m 12 s"),
        (3599.6, "1 h 00 m"),
        (3720, "1 h 02 m"),
        (90000, "25 h 00 m"),
    ],
)
def test_durations(seconds: float, said: str) -> None:
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_600, "1.0 MB"),
        (412_000_000, "412 MB"),
        (3_200_000_000_000, "3200 GB"),
    ],
)
def test_sizes(count: int, said: str) -> None:
    assert words.size(count) == said


@given(st.text())
def test_any_text_becomes_one_harmless_line(text: str) -> None:
    line = words.one_line(text)
    assert line.splitlines() in ([], [line])
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in line)


def test_a_race_is_told_apart_by_its_interval() -> None:
    for n in (2, 3, 5, 8, 13, 21, 40):
        for k in range(n + 1):
            for race, (low, high) in ((False, interval(k, n)), (True, running_interval(k, n))):
                assert words.is_race(Verdict("REPRODUCED", k, n, (), low, high)) == race


def test_bounds_are_rounded_away_from_what_they_promise() -> None:
    for n, k in itertools.product((20, 21, 37, 59, 100, 129), range(4)):
        verdict = judge(
            "fixed",
            [Tried("locked" if i < k else None, reached=True) for i in range(n)],
            accepts=frozenset(),
            probability=None,
        )
        said = words.bound(ArmResult("fixed", verdict, ()))
        numbers = [float(each) for each in said.strip("(≤ %)").split("-")]
        assert numbers[-1] >= verdict.high * 100 - 1e-6
        assert numbers[-1] - verdict.high * 100 <= 1
        if k:
            assert numbers[0] <= verdict.low * 100 + 1e-6


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (arm("off", LOSS * 5), "REPRODUCED 5/5 silent-vector-loss"),
        (arm("off", ["locked"] * 5), "UNKNOWN 0/5 locked 5"),
        (arm("off", LOSS * 3 + ["locked"]), "UNKNOWN 3/4 silent-vector-loss 3, locked 1"),
        (arm("off", LOSS * 3 + HELD), "FLAKY 3/4 silent-vector-loss"),
        (arm("off", ["not-reached"] * 5), "VACUOUS 0/5 not-reached 5"),
        (arm("off", HELD * 5), "GONE 0/5"),
        (arm("off", LOSS * 12 + HELD * 28, p=0.3), "REPRODUCED 12/40 (11-55 %) silent-vector-loss"),
        (arm("wrong", LOSS * 5), "guard: caught 5/5 silent-vector-loss"),
        (arm("as-reported", LOSS * 5), "5/5 silent-vector-loss"),
        (arm("as-reported", HELD * 5), "0/5"),
        (arm("as-reported", LOSS * 3 + HELD * 97), "3/100 (0.6-8.6 %) silent-vector-loss"),
        (arm("fixed", HELD * 5), "HELD 0/5"),
        (arm("fixed", HELD * 100), "HELD 0/100 (≤ 3.0 %)"),
        (arm("fixed", HELD * 4 + LOSS), "VIOLATED 1/5 silent-vector-loss"),
    ],
)
def test_what_is_said_of_an_arm(result: ArmResult, said: str) -> None:
    assert words.arm_words(result) == said


# The table --------------------------------------------------------------------------------------


def test_piped_every_row_is_one_line_with_everything_in_it(tmp_path: Path) -> None:
    lines = printed(FINE, tmp_path).splitlines()
    for each in FINE.rows:
        (line,) = [line for line in lines if line.startswith(each.scenario)]
        assert all(words.arm_words(one) in line for one in each.arms)
        assert words.duration(each.seconds) in line


def test_every_verdict_is_named_in_the_table(tmp_path: Path) -> None:
    lines = printed(ALL_VERDICTS, tmp_path).splitlines()
    for name in NAMES:
        line = next(line for line in lines if line.startswith(f"s1/{name.lower()} "))
        assert f"{name} 2/5 locked" in line or name == "OBSERVED"


@pytest.mark.parametrize("result", [FINE, ALL_VERDICTS], ids=["fine", "all verdicts"])
@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_a_folded_table_fits_and_loses_nothing(result: RunResult, width: int) -> None:
    rows = result.rows
    lines = layout(rows, width)
    assert max(len(line.text) for line in lines) <= width
    cells = [[Cell(name) for name in header(rows)], *table(rows)]
    for column in range(len(cells[0])):
        shown = "".join(line.cells[column].text for line in lines if line.cells)
        wanted = "".join(each[column].text for each in cells)
        assert shown.replace("─", "").replace(" ", "") == wanted.replace(" ", "")


def test_only_a_table_that_is_folded_much_is_spread_out() -> None:
    assert all(line.text for line in layout(FINE.rows, 200))
    assert [line.text for line in layout(FINE.rows, 80)].count("") == len(FINE.rows) - 1


@given(st.text(alphabet="ab-/ 1(),%", max_size=60), st.integers(5, 60), st.integers(0, 4))
def test_folding_keeps_every_character_but_blanks(text: str, width: int, hang: int) -> None:
    assert "".join(fold(text, width, hang)).replace(" ", "") == text.replace(" ", "")


def test_numbers_stay_with_what_they_belong_to() -> None:
    text = "VIOLATED 1/100 (0.6-8.6 %) silent-vector-loss 12, locked 3"
    for width in range(18, 60):
        joined = "\n".join(fold(text, width))
        for atom in ("1/100", "(0.6-8.6 %)", "loss 12,", "locked 3"):
            assert atom in joined


def test_a_terminal_of_80_columns_shows_the_table_in_full(tmp_path: Path) -> None:
    console = Console(Terminal(), width=80, environ={"TERM": "xterm"})
    console.rich.record = True
    console.result(FINE, tmp_path)
    text = console.rich.export_text()
    assert "…" not in text
    for part in ("REPRODUCED 5/5", "guard: caught 5/5", "HELD 0/100", "(≤ 3.0 %)", "writers-"):
        assert part in text


# Under the table --------------------------------------------------------------------------------


def test_a_run_as_promised_says_nothing_of_the_bugs_it_expected(tmp_path: Path) -> None:
    text = printed(FINE, tmp_path)
    assert "palace-lab replay" not in text
    assert LOST not in text
    assert "exit code" not in text
    assert "2 proofs reproduced and held, 1 guard held, 0 refused · 3 m 12 s · 398 MB" in text
    assert "profile quick: 5 trials of each arm that must fail, 20 of each fixed arm" in text
    assert "slowest trial: s1/killed-in-data-level0 1.5.9 off number 0, 0.5 s" in text


@pytest.mark.parametrize("width", [0, 80])
def test_each_bad_row_has_one_line_to_paste(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "reports" / "run"
    both = row(arm("off", HELD * 5), arm("fixed", HELD * 3 + LOSS * 2))
    text = printed(run(PROOF, both, GUARD), directory, width=width, NO_COLOR="1")
    (line,) = [line for line in text.splitlines() if "palace-lab replay" in line]
    assert line.strip() == "palace-lab replay reports/run/plans/fixed-3.json"
    assert "the unfixed library held" in text
    assert "writer 2 was told ok for drawer 41" in text
    assert "exit code 1: a fixed arm was violated" in text
    assert "1 of 2 proofs" in text


@pytest.mark.parametrize(
    ("result", "index"),
    [
        (arm("fixed", ["held", "held", "locked", "held"]), 2),
        (arm("fixed", ["held", "lab-error", "held"]), 1),
        (arm("fixed", ["held", "lab-error", "locked"]), 2),
        (arm("off", ["silent-vector-loss", "not-reached"]), 1),
        (arm("off", ["silent-vector-loss", "silent-vector-loss", "held"]), 2),
        (arm("off", ["silent-vector-loss", "silent-vector-loss", "locked"]), 2),
        (arm("off", HELD * 30, p=0.5), 0),
        (arm("off", [*LOSS, "lab-error"]), 1),
    ],
)
def test_the_trial_to_replay_shows_what_is_wrong(result: ArmResult, index: int) -> None:
    assert not result.verdict.good
    assert facts.command(result, Path("r")).endswith(f"r/plans/{result.role}-{index}.json")


@pytest.mark.parametrize("seen", [LOSS * 3 + HELD * 2, LOSS * 4 + ["not-reached"]])
def test_what_did_happen_as_expected_is_not_held_against_anyone(
    tmp_path: Path, seen: list[str]
) -> None:
    text = printed(run(row(arm("off", seen))), tmp_path)
    assert "palace-lab replay" in text
    assert LOST not in text


def test_paths_are_quoted_for_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = facts.command(arm("fixed", LOSS), Path("my reports/it's"))
    assert line == """palace-lab replay 'my reports/it'"'"'s/plans/fixed-0.json'"""


def test_refused_leaks_and_unfinished_are_named(tmp_path: Path) -> None:
    refused = [row(scenario=f"s1/{name}", refused="no wheel for riscv64") for name in "ab"]
    other = row(scenario="s1/c", refused="the disk is full")
    result = run(PROOF, *refused, other, leaks=("process 42 outlived it",), interrupted=True)
    for text in (printed(result, tmp_path), write_summary(result, tmp_path).read_text("utf-8")):
        assert text.count("no wheel for riscv64") == 1
        for part in ("s1/a 1.5.9", "s1/b 1.5.9", "the disk is full", "s1/c 1.5.9", "3 refused"):
            assert part in text
        for part in ("process 42 outlived it", "s2/open sqlite", "exit code 130: interrupted"):
            assert part in text


def test_many_contradictions_are_cut_to_the_first_few(tmp_path: Path) -> None:
    trials = [record("fixed", i, "locked", SCENARIO, f"sentence {i}") for i in range(9)]
    verdict = Verdict("VIOLATED", 9, 9, (("locked", 9),), 0.6, 1.0)
    text = printed(run(row(ArmResult("fixed", verdict, tuple(trials)))), tmp_path)
    assert [i for i in range(9) if f"sentence {i} [locked]" in text] == [0, 1, 2]
    assert "and 6 more in results.jsonl" in text


# Terminal, pipe, colours ------------------------------------------------------------------------


@pytest.mark.parametrize("result", [FINE, ALL_VERDICTS], ids=["fine", "all verdicts"])
def test_control_characters_only_on_a_terminal_with_colours(
    tmp_path: Path, result: RunResult
) -> None:
    assert "\x1b" not in printed(result, tmp_path)
    assert "\x1b" not in printed(result, tmp_path, FORCE_COLOR="1")
    assert "\x1b" not in printed(result, tmp_path, width=120, NO_COLOR="1")
    assert "\x1b[32m" in printed(result, tmp_path, width=120)


def test_text_of_the_library_cannot_drive_the_terminal(tmp_path: Path) -> None:
    nasty = arm("fixed", LOSS, sentence="\x1b]0;title\x07[red]\u202e\nsecond\r\x9b2J")
    text = printed(run(row(nasty)), tmp_path, width=120, NO_COLOR="1")
    assert not set("\x1b\x07\u202e\r\x9b") & set(text)
    assert "[red]" in text


def test_a_stream_that_knows_only_ascii_gets_ascii(tmp_path: Path) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Console(stream, environ={}).result(run(LONG), tmp_path)
    assert b"HELD 0/100 (<= 3.0 %)" in raw.getvalue()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_log_gets_a_line_a_row_and_few_between() -> None:
    file, clock = io.StringIO(), Clock()
    progress = RunProgress(Console(file, environ={}), clock=clock)
    progress.environment("environment 1.5.9: found")
    with progress:
        progress.start(400)
        for trial in LONG.arms[2].trials:
            clock.now += 0.5
            progress.trial_done(trial)
        between = file.getvalue().splitlines()[2:]
        progress.row_done(LONG)
        progress.note("the disk has\n1 GB left")
    lines = file.getvalue().splitlines()
    assert len(between) == math.floor(100 * 0.5 / QUIET_S)
    assert lines[-2].startswith("[100/400] 2.0 trials/s · 2 m 30 s left · s1/two-writers-race")
    assert "fixed HELD 0/100 (≤ 3.0 %)" in lines[-2]
    assert lines[-1] == "the disk has 1 GB left"
    assert not any(ord(character) < 32 and character != "\n" for character in file.getvalue())


def test_trials_taken_over_do_not_count_for_the_rate() -> None:
    file, clock = io.StringIO(), Clock()
    progress = RunProgress(Console(file, environ={}), clock=clock)
    progress.start(100, already=90)
    clock.now = 10.0
    progress.trial_done(PROOF.arms[0].trials[0])
    assert "[ 91/100] 0.10 trials/s · 1 m 30 s left" in file.getvalue()


def test_a_race_may_take_more_trials_than_were_thought() -> None:
    file, clock = io.StringIO(), Clock()
    progress = RunProgress(Console(file, environ={}), clock=clock)
    progress.start(1)
    for _ in range(3):
        clock.now += 1
        progress.trial_done(PROOF.arms[0].trials[0])
    progress.row_done(PROOF)
    assert "[3/3] 1.0 trials/s · s1/" in file.getvalue()
    for wanted, total in ((2, 3), (9, 9)):
        progress.expect(wanted)
        progress.row_done(PROOF)
        assert f"[3/{total}] 1.0 trials/s · " in file.getvalue()


def test_on_a_terminal_rows_stand_above_a_bar_that_goes_away(tmp_path: Path) -> None:
    file = Terminal()
    progress = RunProgress(Console(file, width=80, environ={"TERM": "xterm", "NO_COLOR": "1"}))
    with progress:
        progress.start(15)
        progress.running("s1/killed 1.5.9 off")
        progress.trial_done(PROOF.arms[0].trials[0])
        progress.row_done(PROOF)
        early = file.getvalue()
        progress.finish(run(PROOF), tmp_path)
    late = file.getvalue()[len(early) :]
    assert "REPRODUCED 5/5" in early
    assert "1/15 trials" in early
    assert "running: s1/killed 1.5.9 off" in early
    table_at = late.index("profile quick")
    assert "\x1b[2K" in late[late.rindex("1/15 trials", 0, table_at) : table_at]
    assert "trials/s" not in late[table_at:]


# summary.md and junit.xml -----------------------------------------------------------------------


def test_the_summary_has_the_table_the_lines_to_paste_and_the_machine(tmp_path: Path) -> None:
    text = write_summary(ALL_VERDICTS, tmp_path).read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| s1/")]
    assert len(rows) == len(NAMES)
    assert text.count("palace-lab replay") == len(NAMES) - len(GOOD)
    assert "processors, load average" in text
    assert "summary.md**" in text


@settings(max_examples=100)
@given(scenario=st.text("ab|\\`*\n", max_size=9), sentence=TEXTS, reason=TEXTS)
def test_no_text_breaks_the_markdown(scenario: str, sentence: str, reason: str) -> None:
    lost = arm("fixed", LOSS, sentence=sentence)
    bad = row(lost, named("UNKNOWN", reason=reason), scenario=scenario)
    lines = summary_text(run(bad, row(refused=reason or "why")), Path("r")).splitlines()
    cells = [re.sub(r"\\.", "", line).count("|") for line in lines if line.startswith("| ")]
    assert cells == [6] * 4
    assert lines.count("```sh") == lines.count("```") == 1


@settings(max_examples=100)
@given(scenario=TEXTS, sentence=st.text(), reason=st.text(), leak=TEXTS)
def test_junit_is_valid_whatever_the_text(
    tmp_path_factory: pytest.TempPathFactory, scenario: str, sentence: str, reason: str, leak: str
) -> None:
    bad = row(
        arm("fixed", LOSS, sentence=sentence), named("FLAKY", reason=reason), scenario=scenario
    )
    result = run(bad, row(refused=reason or "why"), leaks=(leak,), interrupted=True)
    path = write_junit(result, tmp_path_factory.getbasetemp())
    suite = ET.fromstring(path.read_bytes())  # noqa: S314 - our own file
    assert len(suite.findall(".//testcase")) == 5
    assert len(suite.findall(".//failure")) == 3
    assert len(suite.findall(".//error")) == 2


@pytest.mark.parametrize("number", [0x0, 0xD800, 0xFDD0, 0xFFFE, 0xFFFF, 0x1FFFF, 0x10FFFE])
def test_what_is_no_character_is_spelt_out(number: int, tmp_path: Path) -> None:
    sentence = f"drawer 'a{chr(number)}b' is there"
    result = run(row(arm("fixed", LOSS, sentence=sentence)))
    root = ET.parse(write_junit(result, tmp_path)).getroot()  # noqa: S314 - our own file
    (failure,) = root.findall(".//failure")
    assert f"{number:x}b' is there" in (failure.text or "")
    assert chr(number) not in words.one_line(sentence)


def test_the_folder_of_a_run_may_have_a_name_that_is_no_text(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/rep\xff"))
    folder.mkdir()
    result = run(row(arm("fixed", LOSS)))
    assert "rep\\udcff" in write_summary(result, folder).read_text("utf-8")
    assert "rep\\udcff" in write_page(result, folder).read_text("utf-8")
    ET.parse(write_junit(result, folder))  # noqa: S314 - our own file


def test_in_junit_only_what_is_as_promised_is_green(tmp_path: Path) -> None:
    root = ET.parse(write_junit(ALL_VERDICTS, tmp_path)).getroot()  # noqa: S314 - our own file
    cases = root.findall(".//testcase")
    assert len(cases) == len(NAMES)
    for name, case in zip(NAMES, cases, strict=True):
        assert case.get("name") == f"s1/{name.lower()}[1.5.9-off]"
        assert case.get("classname") == "palace_lab.s1"
        assert case.get("time") == "0.500"
        seen = [(child.tag, child.get("type")) for child in case]
        if name in GOOD:
            assert seen == []
        elif name == "REFUSED":
            assert seen == [("error", "refused")]
        else:
            assert seen == [("failure", name)]
            assert "palace-lab replay" in (case[0].text or "")
    assert root.findall(".//skipped") == []
    assert root[0].get("failures") == "6"
    assert root[0].get("errors") == "1"


@pytest.mark.parametrize(
    "result", [run(), run(row()), run(row(refused="why")), run(PROOF, leaks=("fd 7",))]
)
def test_what_has_no_verdict_is_not_green_either(tmp_path: Path, result: RunResult) -> None:
    root = ET.parse(write_junit(result, tmp_path)).getroot()  # noqa: S314 - our own file
    assert root.findall(".//failure") + root.findall(".//error")
    assert result.exit_code is not ExitCode.PROMISED


# Exit codes -------------------------------------------------------------------------------------

#: What each verdict alone would give, worst first; None: it never changes the code.
CODES: list[tuple[str, ExitCode | None]] = [
    ("VIOLATED", ExitCode.VIOLATED),
    ("VIOLATED by a hang", ExitCode.HANG),
    ("leak", ExitCode.LEAK),
    ("UNKNOWN", ExitCode.UNKNOWN),
    ("FLAKY", ExitCode.UNKNOWN),
    ("VACUOUS", ExitCode.VACUOUS),
    ("NOT REPRODUCED", ExitCode.VACUOUS),
    ("REFUSED", ExitCode.REFUSED),
    ("refused row", ExitCode.REFUSED),
    ("GONE", ExitCode.GONE),
    ("OBSERVED", None),
]


def test_the_worst_of_any_set_of_verdicts_decides_the_exit_code() -> None:
    fine = row(named("HELD", "fixed"), named("REPRODUCED"))
    hang = Verdict("VIOLATED", 1, 5, (("held", 4), ("hang", 1)), 0.0, 1.0)
    bad = {
        **{str(name): row(named(name)) for name in NAMES},
        "VIOLATED by a hang": row(ArmResult("fixed", hang, ())),
        "refused row": row(refused="why"),
    }
    for chosen in itertools.product((False, True), repeat=len(CODES)):
        there = [each for each, is_there in zip(CODES, chosen, strict=True) if is_there]
        labels = {label for label, _ in there}
        rows = [fine, *(each for label, each in bad.items() if label in labels)]
        leaks = ("fd 7",) if "leak" in labels else ()
        worst = next((code for _, code in there if code is not None), ExitCode.PROMISED)
        assert run(*rows, leaks=leaks).exit_code is worst, labels
        assert run(*rows, leaks=leaks, interrupted=True).exit_code is ExitCode.INTERRUPTED


def test_every_exit_code_has_a_meaning() -> None:
    assert set(words.EXIT_MEANINGS) == set(ExitCode)
    assert [int(code) for code in words.EXIT_MEANINGS] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 130]
