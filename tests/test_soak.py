"""A soak: what it draws, keeps and says; on faked trials, and once for real."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from whole_runs import (
    INTERRUPTIBLE,
    PLAN,
    QUIET,
    START,
    assert_nothing_left,
    environment,
    run,
    scenario,
)

from palace_lab.catalog import Listed, find_scenarios
from palace_lab.checks.signatures import members
from palace_lab.commands import notify
from palace_lab.errors import ExitCode, UsageError
from palace_lab.judge.night import Canary, NightResult
from palace_lab.judge.results import TrialRecord
from palace_lab.report import night_words
from palace_lab.report.night_ledger import Ledger
from palace_lab.report.nights import Night, unfinished
from palace_lab.report.records import read_records
from palace_lab.runner import soak as module
from palace_lab.runner.cells import Cell
from palace_lab.runner.field import CANARY, Field, SoakOrder
from palace_lab.runner.guards import Go
from palace_lab.runner.soak import Soak

UNITS = sorted((Path(__file__).parents[1] / "docs" / "systemd").glob("palace-lab-*"))
Outcome = Callable[[Cell, int], str | None]


def as_promised(cell: Cell, _index: int) -> str | None:
    """Fail exactly where fixes are off: by what the library does, not by what the arm is called."""
    broken = cell.arm.fixes != cell.listed.scenario.fixed or bool(cell.arm.options)
    return min(members(min(cell.accepts()))) if broken else None


class Faked:
    """A night on the scenarios of this checkout in which no trial is played."""

    def __init__(self, folder: Path, trials: int, outcome: Outcome = as_promised) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.ledger = Ledger(folder)
        self.left = trials
        self.outcome = outcome
        self.interrupt_at = -100
        self.interrupt: Callable[[], None] = lambda: None
        self.night = unfinished(folder) or Night.begin(folder)
        self.said: list[str] = []
        self.seconds, self.worked_s, self.written_bytes, self.jobs = 1000.0, 10.0, 0, 2

    def look(self, running: int) -> Go:
        if self.left <= self.interrupt_at and not running:
            raise KeyboardInterrupt
        if self.left <= self.interrupt_at:
            return Go(0, why="the interruption")
        return Go(2) if self.left > 0 else Go(0, over="its time is over")

    def add_left(self, count: int) -> None:
        self.written_bytes += count

    def trial_done(self, _record: TrialRecord) -> None:
        pass

    def expect(self, _total: int) -> None:
        pass

    def note(self, sentence: str) -> None:
        self.said.append(sentence)

    def trial(self, cell: Cell, index: int) -> TrialRecord:
        self.left -= 1
        plan = self.night.directory.plan_path(cell.listed.name, cell.release, cell.arm.role, index)
        plan.write_text(f"{cell.listed.name} {index}")
        error = ""
        signature = self.outcome(cell, index)
        if signature == "lab-error":
            error = "the host did not answer"
        return TrialRecord(
            scenario=cell.listed.name,
            system=cell.listed.system,
            release=cell.release,
            arm=cell.arm.role,
            index=index,
            seed=cell.trial_seed(index),
            plan=self.night.directory.relative(plan),
            plan_sha256="",
            history="",
            signature=signature,
            reached=True,
            goals={},
            violations=(),
            exits={},
            seconds=1.0 + cell.trial_seed(index) % 100,
            written_bytes=1000,
            lab_error=error,
        )

    def play(self, listed: list[Listed], *, asked: tuple[str, ...] = ("1.5.9",)) -> NightResult:
        arena = SimpleNamespace(interrupt=self.interrupt, leaks=list)
        order = SoakOrder(listed, ["0.6.3", "1.0.21", "1.5.9"], asked, {}, seed=5)
        self.soak = Soak(arena, order, self.night, self, self.ledger, self)  # type: ignore[arg-type]
        self.soak._bench = self  # type: ignore[assignment]
        return self.soak.run(read_records(self.night.directory.results_path))


@pytest.fixture(scope="module")
def listed() -> list[Listed]:
    quick = [each for each in find_scenarios() if each.system in ("s1", "s4")]
    plain = [each for each in quick if not each.scenario.nightly]
    chosen = [each for each in plain if each.name in ("s1/killed-in-pickle", "s4/orphans")]
    return [*chosen, *(each for each in plain if each not in chosen)][:8]


def test_a_night_as_promised_is_green_and_finds_every_bug(
    tmp_path: Path, listed: list[Listed]
) -> None:
    night = Faked(tmp_path, 100)
    result = night.play(listed)
    assert result.exit_code is ExitCode.PROMISED
    assert result.red_rows() == []
    assert result.bugs(found=False) == []
    assert len(result.bugs(found=True)) >= len(listed)
    assert result.canary.failed == result.canary.tried > 2
    line = night_words.headline(result, night.ledger.news(night.soak.records))
    assert re.search(r"10[01] trials", line)
    assert "\n" not in line
    assert night.said == []


@pytest.mark.parametrize(
    ("seconds", "named", "played"),
    [
        (1800.0, (), {"s2/large-palace", "s2/large-http-server"}),
        (719.0, (), set()),
        (2880.0, (), {"s2/large-palace", "s2/large-http-server", "s2/all-at-once"}),
        (60.0, ("s2/all-at-once",), {"s2/all-at-once"}),
        (60.0, ("s2",), set()),
    ],
)
def test_what_takes_minutes_is_no_part_of_a_night_too_short_for_it(
    seconds: float, named: tuple[str, ...], played: set[str]
) -> None:
    long = [each for each in find_scenarios() if each.scenario.minutes]
    assert len(long) == 3
    order = SoakOrder(long, ["1.5.9"], ["1.5.9"], {}, seed=5, seconds=seconds, named=named)
    field = Field(order)
    assert {scenario for scenario, _, _ in field.cells} == played
    assert {judged.row.scenario for judged in field.judged()} == played
    assert {scenario for scenario, _ in field.left_out} == {each.name for each in long} - played
    for reason in field.left_out.values():
        assert re.search(r"one trial takes some \d+ minutes; .* by its name", reason)


def test_the_judge_is_not_told_which_trial_is_a_canary(
    tmp_path: Path, listed: list[Listed]
) -> None:
    arms: Counter[str] = Counter()

    def outcome(cell: Cell, index: int) -> str | None:
        arms[cell.arm.role] += 1
        return as_promised(cell, index)

    night = Faked(tmp_path, 100, outcome)
    result = night.play(listed)
    assert result.canary.tried > 0
    assert CANARY not in arms
    written = Counter(each.arm for each in read_records(night.night.directory.results_path))
    assert written[CANARY] == result.canary.tried
    assert arms["fixed"] == written["fixed"] + written[CANARY]


def test_a_night_whose_canary_is_silent_is_red(tmp_path: Path, listed: list[Listed]) -> None:
    def blind(cell: Cell, index: int) -> str | None:
        return None if cell.arm.role == "fixed" else as_promised(cell, index)

    night = Faked(tmp_path, 100, blind)
    result = night.play(listed)
    assert result.canary.failed == 0 < result.canary.tried
    assert result.exit_code is ExitCode.VACUOUS
    (block,) = night_words.red_blocks(result, night.night.path)
    assert block.title == "the canary is silent"
    assert "a canary held" in night.said[0]


def test_no_canary_at_all_is_silence() -> None:
    assert Canary(0, 0).silent(fixed_trials=3)
    assert not Canary(0, 0).silent(fixed_trials=0)
    assert Canary(4, 5).silent(fixed_trials=80)
    assert not Canary(5, 5).silent(fixed_trials=80)


@pytest.mark.parametrize(
    ("arm", "signature", "code", "said"),
    [
        ("fixed", "locked", ExitCode.VIOLATED, "locked with all fixes on"),
        ("fixed", "hang", ExitCode.HANG, "hang with all fixes on"),
        ("fixed", "lab-error", ExitCode.UNKNOWN, "the lab itself"),
        ("off", "lab-error", ExitCode.UNKNOWN, "the lab itself"),
        ("off", "told-twice", ExitCode.UNKNOWN, ""),
    ],
)
def test_one_bad_trial_makes_a_night_red(
    tmp_path: Path, listed: list[Listed], arm: str, signature: str, code: ExitCode, said: str
) -> None:
    name = "s1/killed-in-pickle"

    def outcome(cell: Cell, index: int) -> str | None:
        usual = as_promised(cell, index)
        hit = cell.listed.name == name and cell.arm.role == arm and (arm == "off" or usual is None)
        return signature if hit else usual

    night = Faked(tmp_path, 100, outcome)
    result = night.play(listed)
    assert result.exit_code is code
    (block,) = night_words.red_blocks(result, night.night.path)
    assert name in block.title
    plan = Path(block.command.split()[-1])
    assert plan.is_file() or (Path.cwd() / plan).is_file()
    assert [text for text in night.said if said and said in text] or not said


def test_a_bug_that_is_gone_is_told_when_it_has_held_often_enough(
    tmp_path: Path, listed: list[Listed]
) -> None:
    name = "s1/killed-in-pickle"

    def outcome(cell: Cell, index: int) -> str | None:
        gone = cell.listed.name == name and cell.arm.role == "off"
        return None if gone else as_promised(cell, index)

    few = Faked(tmp_path / "few", 15, outcome)
    assert few.play(listed).exit_code is ExitCode.PROMISED
    assert f"{name} on 1.5.9" in few.play(listed).bugs(found=False)
    many = Faked(tmp_path / "many", 400, outcome).play(listed)
    assert many.exit_code in (ExitCode.GONE, ExitCode.VACUOUS)  # its canary holds as well
    assert f"{name} on 1.5.9" in many.bugs(found=False)


def test_a_night_that_was_cut_off_goes_on_and_does_nothing_twice(
    tmp_path: Path, listed: list[Listed]
) -> None:
    first = Faked(tmp_path, 50)
    first.interrupt_at = 20
    result = first.play(listed)
    assert result.exit_code is ExitCode.INTERRUPTED
    results = first.night.directory.results_path
    before = results.read_bytes()
    results.write_bytes(before + b'{"schema": 1, "scen')  # what a loss of power leaves
    second = Faked(tmp_path, 60)
    assert second.night.path == first.night.path
    assert second.play(listed).exit_code is ExitCode.PROMISED
    assert results.read_bytes().startswith(before)
    whole = Faked(tmp_path / "many", 90)
    whole.play(listed)

    def keys(path: Path) -> list[tuple[str, ...]]:
        found = read_records(path)
        assert len(found) == len({(e.scenario, e.release, e.arm, e.index) for e in found})
        return sorted((e.scenario, e.release, e.arm, str(e.seed)) for e in found)

    both = keys(results)
    shorter = keys(whole.night.directory.results_path)
    assert len(set(shorter) - set(both)) <= 2  # what two at once had drawn when it ended
    assert unfinished(tmp_path) is None
    counts = {entry.key: entry.count for entry in Ledger(tmp_path).entries}
    failed = Counter(
        (each.scenario, each.release, each.arm, each.signature or "")
        for each in read_records(results)
        if each.signature
    )
    assert counts == failed


def test_a_trial_that_does_not_end_is_cut_off_when_the_night_is_over(
    tmp_path: Path, listed: list[Listed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE_S", 0.0)
    cut_off = threading.Event()

    def outcome(cell: Cell, index: int) -> str | None:
        if night.left <= 0:
            assert cut_off.wait(60)
        return as_promised(cell, index)

    night = Faked(tmp_path, 20, outcome)
    night.interrupt = cut_off.set
    result = night.play(listed)
    assert cut_off.is_set()
    assert result.exit_code is ExitCode.PROMISED
    assert 15 < result.trials < 20
    assert "cut off" in night.said[-1]
    assert unfinished(tmp_path) is None


def test_only_what_somebody_will_look_at_is_kept(tmp_path: Path, listed: list[Listed]) -> None:
    night = Faked(tmp_path, 200)
    night.play(listed)
    records = read_records(night.night.directory.results_path)
    kept = {
        path.relative_to(night.night.path).as_posix()
        for path in night.night.directory.plans.iterdir()
    }
    assert kept == {each.plan for each in records if each.plan}
    assert not any(each.plan for each in records if each.arm == "fixed")
    shown = {(e.scenario, e.release, e.arm) for e in records if e.signature}
    assert {(e.scenario, e.release, e.arm) for e in records if e.plan} == shown
    for entry in Ledger(tmp_path).entries:
        seconds = [
            each.seconds
            for each in records
            if (each.scenario, each.release, each.arm, each.signature) == entry.key
        ]
        assert entry.fastest_s == min(seconds)
        assert (tmp_path / entry.plan).read_text().startswith(entry.scenario)


def test_red_trials_are_kept_up_to_a_number(
    tmp_path: Path, listed: list[Listed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT", 3)
    one = [each for each in listed if each.name == "s1/killed-in-pickle"]
    night = Faked(tmp_path, 60, lambda cell, _: "locked" if cell.arm.role == "fixed" else None)
    night.play(one)
    records = read_records(night.night.directory.results_path)
    red = [each for each in records if each.arm == "fixed"]
    seconds = [each.seconds for each in red]
    kept = [n for n, each in enumerate(red) if each.plan]
    faster = [n for n in range(1, len(red)) if seconds[n] < min(seconds[:n])]
    assert kept == sorted({0, 1, 2, *faster})
    assert 3 < len(kept) < len(red)
    assert all(night.night.directory.absolute(red[n].plan).is_file() for n in kept)


def test_each_faster_red_trial_is_kept_however_many_there_were(
    tmp_path: Path, listed: list[Listed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT", 3)
    one = [each for each in listed if each.name == "s1/killed-in-pickle"]
    night = Faked(tmp_path, 60, lambda cell, _: "locked" if cell.arm.role == "fixed" else None)
    night.play(one)
    records = [
        each for each in read_records(night.night.directory.results_path) if each.arm == "fixed"
    ]
    fastest = min(records, key=lambda each: each.seconds)
    assert records.index(fastest) >= module.KEPT  # else this shows nothing
    (entry,) = [each for each in Ledger(tmp_path).entries if each.arm == "fixed"]
    assert (entry.seed, entry.fastest_s) == (fastest.seed, fastest.seconds)
    assert entry.plan
    assert (tmp_path / entry.plan).read_text() == f"{one[0].name} {fastest.index}"


def test_the_line_is_one_line_and_short_whatever_is_in_it(tmp_path: Path) -> None:
    night = Faked(tmp_path, 0)
    ledger = night.ledger
    hostile = "s1/\n[bold]x\x1b[31m|`<script>`" * 40
    base = TrialRecord(
        scenario=hostile,
        system="s1",
        release="1.5.9",
        arm="fixed",
        index=0,
        seed=1,
        plan="",
        plan_sha256="",
        history="",
        signature="locked\n",
        reached=True,
        goals={},
        violations=(),
        exits={},
        seconds=1.0,
        written_bytes=0,
    )
    ledger.take_in("n1", [base], tmp_path)
    ledger.take_in("n2", [base], tmp_path)
    result = NightResult((), Canary(0, 0), 5, 1.0, 1, cut_short="full\nof it")
    for n in range(30):
        ledger._entries[(hostile, "r", "fixed", str(n))] = ledger.entries[0]
    line = night_words.headline(result, ledger.news([base]))
    assert line.isprintable()
    assert len(line) < 2000
    page = night_words.ledger_page(ledger.entries[:1], tmp_path)
    assert "\x1b" not in page
    assert len(page.splitlines()) == 5


def test_what_fails_with_all_fixes_on_is_named_first(tmp_path: Path, listed: list[Listed]) -> None:
    Faked(tmp_path, 40).play(listed)

    def outcome(cell: Cell, index: int) -> str | None:
        usual = as_promised(cell, index)
        return "phantom" if usual is None and cell.listed.name == "s4/orphans" else usual

    night = Faked(tmp_path, 100, outcome)
    result = night.play(listed)
    line = night_words.headline(result, night.ledger.news(night.soak.records))
    assert line.startswith("new: s4/orphans on sqlite (fixed) phantom (seed ")
    assert "exit code 1" in line


@pytest.mark.parametrize("command", ["", "'", "no-such-program-here x", "/", "a\0b"])
def test_a_hook_that_cannot_be_started_is_said_before_the_night(command: str) -> None:
    with pytest.raises(UsageError, match="--notify"):
        notify.words_of(command)


def test_the_hook_reads_the_line_or_has_it_as_a_word(tmp_path: Path) -> None:
    target = tmp_path / "got"
    body = f"import sys; open({str(target)!r}, 'w').write(sys.stdin.read() + sys.argv[1])"
    line = "new: $(touch x) `y` {}; 3 trials"
    assert notify.tell([sys.executable, "-c", body, "{}"], line) == ""
    assert target.read_text() == f"{line}\n{line}"
    assert notify.tell(["sh", "-c", "cat; echo no such host >&2; exit 3"], line) == (
        "the notify command ended with 3: no such host"
    )


def test_a_hook_that_does_not_end_is_ended_with_all_it_started(tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! > {tmp_path}/pid; wait"
    said = notify.tell(["sh", "-c", script], "line", seconds_max=1.0)
    assert "was ended" in said
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def test_the_units_are_understood_by_systemd(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not here: Debian's package is systemd")
    assert {path.suffix for path in UNITS} == {".service", ".timer"}

    def verified(*units: Path) -> str:
        done = subprocess.run(
            [program, "verify", *map(str, units)], capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr + ("" if done.returncode == 0 else "failed")

    said = verified(*UNITS)
    if "Failed to initialize manager" in said:
        pytest.skip(f"systemd-analyze cannot work here: {said.strip()}")
    assert said == ""
    for path in UNITS:
        text = path.read_text()
        assert not re.search(r"/(root|home)/", text)
        (tmp_path / path.name).write_text(text.replace("MemoryMax=", "MemoryMaxx="))
    assert "MemoryMaxx" in verified(*tmp_path.glob("*.service"))


def test_the_unit_calls_the_command_as_it_is() -> None:
    (line,) = re.findall(
        r"^ExecStart=.*bootstrap\.py (soak .*)$",
        (UNITS[0].parent / "palace-lab-soak.service").read_text(),
        re.MULTILINE,
    )
    from palace_lab.commands.soak import soak_command  # noqa: PLC0415 - read by this test alone

    parsed = soak_command.make_context("soak", line.split()[1:]).params
    assert parsed["resume"]
    assert parsed["offline"]
    assert parsed["seconds"] == 7 * 3600


@pytest.mark.slow
@pytest.mark.nightly  # the test of one that is cut off and goes on has the same end
def test_a_real_minute_is_green_and_leaves_nothing(tmp_path: Path) -> None:
    scenario(tmp_path, "found", plan=PLAN, off="Fixes.none()")
    hook = f"{sys.executable} -c \"import sys; open('told', 'w').write(sys.stdin.read())\""
    words = ("soak", "--for", "20s", "--release", "1.5.9", "--offline", "--notify", hook)
    done = run(tmp_path, *words)
    assert done.returncode == ExitCode.PROMISED, done.stdout + done.stderr
    line = done.stdout.splitlines()[-1]
    assert re.match(r"first night: 2 failures noted; \d+ trials in .*, 1 of 1 off bugs found", line)
    assert (tmp_path / "told").read_text() == f"{line}\n"
    (replay,) = re.findall(
        r"`palace-lab (replay [^`]*--off--locked.json)`",
        (tmp_path / "reports" / "soak" / "ledger.md").read_text(),
    )
    assert run(tmp_path, *replay.split()).returncode == ExitCode.VIOLATED
    again = run(tmp_path, *words)
    assert again.stdout.splitlines()[-1].startswith("nothing new; "), again.stdout
    assert_nothing_left(tmp_path)


@pytest.mark.slow
def test_a_real_canary_that_is_silent_is_red(tmp_path: Path) -> None:
    scenario(tmp_path, "blind", plan=QUIET, wrong="Wrong('nothing is wrong')")
    done = run(tmp_path, "soak", "--for", "10s", "--release", "1.5.9", "--offline")
    assert done.returncode == ExitCode.VACUOUS, done.stdout + done.stderr
    assert "the canary is silent" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        *(
            pytest.param(each, marks=pytest.mark.nightly)
            for each in (signal.SIGTERM, signal.SIGKILL)
        ),
    ],
)
def test_a_real_night_that_is_cut_off_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    scenario(tmp_path, "long", plan=PLAN, off="Fixes.none()")
    words = ["soak", "--for", "10m", "--release", "1.5.9", "--offline"]
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE + START, *words],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    folder = tmp_path / "reports" / "soak"

    def ready(lines: list[bytes]) -> bool:
        """Tell whether to cut it off: whether a canary is drawn early is for the seed to say."""
        return len(lines) >= 5 and any(b'"canary"' in line for line in lines)

    deadline = time.monotonic() + 60
    results = folder / "latest" / "results.jsonl"
    while not (results.is_file() and ready(results.read_bytes().splitlines())):
        if time.monotonic() >= deadline:
            process.kill()
            raise AssertionError("five trials and a canary took more than 60 s")
        time.sleep(0.05)
    os.kill(process.pid, number)
    output, _ = process.communicate(timeout=60)
    if number is not signal.SIGKILL:
        assert process.returncode == ExitCode.INTERRUPTED, output
        assert "go on: palace-lab soak --resume" in output
    assert "Traceback" not in output
    assert_nothing_left(tmp_path, within_s=30)
    assert (folder / "unfinished").is_file()
    before = results.read_bytes()
    whole = before[: before.rindex(b"\n") + 1]
    words[2] = "1s" if number is signal.SIGINT else "20s"
    done = run(tmp_path, *words, "--resume")
    assert "going on with" in done.stdout, done.stdout + done.stderr
    assert done.returncode == ExitCode.PROMISED, done.stdout + done.stderr
    assert results.read_bytes().startswith(whole)
    assert not (folder / "unfinished").exists()
    records = [json.loads(line) for line in results.read_text().splitlines()]
    assert len({(e["arm"], e["index"]) for e in records}) == len(records)
