"""`palace-lab replay`: plans that people wrote, sensible or not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from palace_lab.errors import ExitCode
from palace_lab.history.segment import read_segment

pytestmark = pytest.mark.slow

START = "import sys; from palace_lab.cli import main; sys.argv[0] = 'palace-lab'; main()"
WRITE = {"step": "do", "process": "w", "op": "write", "args": {"first": 0, "count": 40}}
CRASH = {"step": "crash", "process": "w", "syscall": "write", "pattern": "*/data_level0.bin"}


def replay(
    folder: Path, *steps: dict[str, Any], words: tuple[str, ...] = (), **plan: Any
) -> subprocess.CompletedProcess[str]:
    document = {"version": 1, "release": "1.5.9", "target": "palace", "steps": steps, **plan}
    (folder / "mine.json").write_text(json.dumps(document))
    return subprocess.run(
        [sys.executable, "-c", START, "replay", "mine.json", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def asked(**changed: Any) -> dict[str, Any]:
    return {**WRITE, **changed}


SENSELESS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no such operation": (
        asked(op="wriet"),
        {},
        "process w of the plan: there is no operation 'wriet' of PalaceTarget; there are: ",
    ),
    "no operation but a part of the target": (asked(op="context"), {}, "no operation 'context'"),
    "what is nobody's business": (asked(op="_write", args={}), {}, "no operation '_write'"),
    "too few arguments": (asked(args={"count": 3}), {}, "missing a required argument: 'first'"),
    "too many": (asked(args={**WRITE["args"], "size": 1}), {}, "unexpected keyword argument"),
    "a number that is none": (
        asked(args={"first": 0, "count": "many"}),
        {},
        "count of operation 'write' is 'many': give a whole number",
    ),
    "a word that is none": (
        asked(args={**WRITE["args"], "how": 7}),
        {},
        "was asked with how=7; it is write(*, first: int, count: int, ",
    ),
    "no such target": (WRITE, {"target": "palaec"}, "there is no palaec.py"),
    "a target with a path": (WRITE, {"target": "../x"}, "is of target '../x'"),
    "no such observer": (WRITE, {"observers": ["nobody"]}, "there is no nobody.py"),
}


@pytest.mark.parametrize("case", SENSELESS)
def test_a_plan_that_makes_no_sense_is_one_sentence(case: str, tmp_path: Path) -> None:
    step, plan, sentence = SENSELESS[case]
    done = replay(tmp_path, step, **plan)
    assert sentence in done.stdout + done.stderr
    assert done.returncode == ExitCode.USAGE
    assert "Traceback" not in done.stderr


REACHING: dict[str, tuple[list[dict[str, Any]], str]] = {
    "a process outside": ([asked(process="../../../evil")], "names a process '../../../evil'"),
    "a process with a NUL": ([asked(process="a\0b")], "names a process 'a\\x00b'"),
    "the lab's own process": ([asked(process="nemesis")], "names a process 'nemesis', but"),
    "a name too long for a file": ([asked(process="p" * 300)], "write 1 to 44 letters"),
    "times of others' files": (
        [
            WRITE,
            {"step": "close", "process": "w"},
            {"step": "backdate", "pattern": "../../../../victim.txt", "seconds": 99_999_999},
        ],
        "$.steps[2] (backdate) has the pattern '../../../../victim.txt'",
    ),
}


@pytest.mark.parametrize("case", REACHING)
def test_a_plan_reaches_nothing_outside_of_its_trial(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, sentence = REACHING[case]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    victim = tmp_path / "victim.txt"  # from the palace of a trial in there, four folders up
    victim.write_text("mine")
    before = victim.stat().st_mtime_ns
    done = replay(tmp_path, *steps, target="chroma", observers=["chroma"])
    assert victim.stat().st_mtime_ns == before
    assert list(scratch.iterdir()) == []
    assert sentence in done.stderr
    assert (done.returncode, len(done.stderr.splitlines())) == (ExitCode.USAGE, 1)


def test_a_crash_at_a_share_of_the_way_is_put_where_an_undisturbed_run_has_it(
    tmp_path: Path,
) -> None:
    done = replay(
        tmp_path, {**CRASH, "at": 0.5}, WRITE, shape={"sync_threshold": 10, "batch_size": 5}
    )
    assert "  reached: w killed at write */data_level0.bin k=" in done.stdout, done.stdout
    assert done.returncode == ExitCode.VIOLATED


def test_a_crash_that_no_call_can_match_shows_nothing(tmp_path: Path) -> None:
    done = replay(tmp_path, {**CRASH, "pattern": "*/no-such-file", "at": 0.5}, WRITE)
    assert "  NOT reached: w killed at write */no-such-file k=1" in done.stdout, done.stdout
    assert done.returncode == ExitCode.VACUOUS


def test_what_is_kept_of_a_trial_is_whole_and_takes_no_more_room_than_it_did(
    tmp_path: Path,
) -> None:
    done = replay(tmp_path, WRITE, words=("--keep", "kept"))
    assert done.returncode == ExitCode.PROMISED, done.stdout
    trial = tmp_path / "kept" / "trial-0"
    history = trial / "history" / "w.hist"
    events = list(read_segment(history))
    assert [event.phase for event in events if event.op == "add"].count("ok") == 40
    assert history.stat().st_size > 1 << 20
    kept = [file.stat() for file in trial.rglob("*") if file.is_file()]
    assert sum(512 * file.st_blocks for file in kept) < 4 << 20
    assert (trial / "palace" / "chroma.sqlite3").read_bytes().startswith(b"SQLite format 3")


@pytest.mark.nightly
def test_what_takes_a_while_says_so_where_nobody_has_to_parse_it(tmp_path: Path) -> None:
    many = {**WRITE, "args": {"first": 0, "count": 200}}
    done = replay(tmp_path, many, words=("-n", "2"))
    assert done.returncode == ExitCode.PROMISED, done.stderr
    assert [line.split(": ")[0][-3:] for line in done.stdout.splitlines()] == ["1/2", "2/2"]
    assert re.search(r"^playing 1 of 2, [\d.]+ s so far$", done.stderr, re.MULTILINE)
    assert re.search(
        r"^playing 2 of 2 \(about [\d.]+ s left\), [\d.]+ s so far$", done.stderr, re.MULTILINE
    )


def test_there_is_a_page_with_a_picture_for_who_wants_one(tmp_path: Path) -> None:
    killed = {"step": "kill", "process": "w"}
    less = {"step": "do", "process": "w", "op": "delete", "args": {"first": 0, "count": 1}}
    done = replay(tmp_path, WRITE, less, killed, words=("-n", "2", "--report-dir", "out"))
    assert done.returncode == ExitCode.PROMISED, done.stdout + done.stderr
    (page,) = (tmp_path / "out" / "latest").glob("report.html")
    assert done.stdout.endswith(f"the picture: out/{page.resolve().parent.name}/report.html\n")
    text = page.read_text(encoding="utf-8")
    assert "HELD 0/2" in text
    assert "The plan mine.json, played alone." in text
    for trial in ("0000", "0001"):
        assert (page.parent / "plans" / f"mine--1.5.9--played--{trial}.json").is_file()
        assert (page.parent / "histories" / f"mine--1.5.9--played--{trial}").is_file()
    records = (page.parent / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(each)["arm"] for each in records] == ["played", "played"]
    assert "0 of 2 failed" in (page.parent / "summary.md").read_text(encoding="utf-8")
