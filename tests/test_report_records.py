"""results.jsonl and the directory of a run: what survives a kill, and what is refused early."""

from __future__ import annotations

import dataclasses
import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palace_lab.errors import UsageError
from palace_lab.history.segment import Event
from palace_lab.judge.results import SCHEMA, TrialRecord, ViolationRecord
from palace_lab.report.records import ResultsFile, RunDirectory, encode_record, read_records

SENTENCES = st.text(st.characters(codec=None), max_size=30)  # half surrogate pairs included


def record(index: int = 0, sentence: str = "x", *, schema: int = SCHEMA) -> TrialRecord:
    return TrialRecord(
        schema=schema,
        scenario="s1/killed",
        system="s1",
        release="1.5.9",
        arm="off",
        index=index,
        seed=7,
        plan="plans/p.json",
        plan_sha256="0" * 64,
        history="",
        signature="locked",
        reached=True,
        goals={"kill": True},
        violations=(ViolationRecord("c", "locked", sentence),),
        exits={"write": "killed by SIGKILL"},
        seconds=0.5,
        written_bytes=12,
        lab_error=sentence,
    )


def write(path: Path, *records: TrialRecord) -> None:
    with ResultsFile(path) as file:
        for each in records:
            file.append(each)


@given(st.lists(SENTENCES, max_size=5))
@settings(max_examples=50)
def test_what_is_appended_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, sentences: list[str]
) -> None:
    path = tmp_path_factory.mktemp("run") / "results.jsonl"
    wanted = [record(i, sentence) for i, sentence in enumerate(sentences)]
    write(path, *wanted)
    assert path.read_bytes().count(b"\n") == len(sentences)
    for got, want in zip(read_records(path), wanted, strict=True):
        clean = want.lab_error.encode("utf-8", "backslashreplace").decode("utf-8")
        assert got == record(want.index, clean)


def test_a_file_torn_anywhere_keeps_its_whole_lines_and_can_be_gone_on_with(tmp_path: Path) -> None:
    lines = [encode_record(record(i, "ä")) for i in range(3)]
    whole = b"".join(lines)
    path = tmp_path / "results.jsonl"
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        kept = whole[:size].count(b"\n")
        assert [each.index for each in read_records(path)] == list(range(kept))
        write(path, record(99))
        assert [each.index for each in read_records(path)] == [*range(kept), 99]


def test_a_torn_line_longer_than_what_is_read_at_once_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(encode_record(record(1)) + b"x" * 200_000)
    write(path, record(2))
    assert [each.index for each in read_records(path)] == [1, 2]


def test_a_record_is_there_though_its_writer_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    source = tmp_path / "one.json"
    source.write_bytes(encode_record(record(5)))
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from palace_lab.report.records import ResultsFile, read_records\n"
        "file = ResultsFile(Path(sys.argv[2]))\n"
        "file.append(read_records(Path(sys.argv[1]))[0])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(source), str(path)], check=False, timeout=60
    )
    assert done.returncode == -9
    assert read_records(path) == [record(5)]


def test_threads_may_append_at_once(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with ResultsFile(path) as file:

        def work(start: int) -> None:
            for i in range(50):
                file.append(record(start + i, "y" * 3000))

        threads = [threading.Thread(target=work, args=(n * 50,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
    assert sorted(each.index for each in read_records(path)) == list(range(200))


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with ResultsFile(path) as file:
        file.append(record(1))
        with pytest.raises(UsageError, match="another run is writing"):
            ResultsFile(path)
    write(path, record(2))
    assert [each.index for each in read_records(path)] == [1, 2]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (encode_record(record(schema=SCHEMA + 1)), f"line 2 is a record of schema {SCHEMA + 1}"),
        (b'{"schema":99,"other":1}\n', "line 2 is a record of schema 99"),
        (b"{}\n", "line 2 is no record of a trial"),
        (b"\n", "line 2 is no record of a trial"),
        (b'{"schema":1}\n', "line 2 is no record of a trial"),
        (b"\xff\xfe\n", "line 2 is no record of a trial"),
    ],
)
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: bytes, said: str) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(encode_record(record()) + line + encode_record(record()))
    with pytest.raises(UsageError, match=said):
        read_records(path)


def test_fields_of_a_later_lab_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(encode_record(record()).replace(b'{"schema"', b'{"later":[1],"schema"'))
    assert read_records(path) == [record()]


def test_what_cannot_be_read_or_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*No such file"):
        read_records(tmp_path / "none")
    with pytest.raises(UsageError, match=r"cannot write .*Is a directory"):
        ResultsFile(tmp_path)


@pytest.mark.parametrize(
    ("what", "fields"),
    [
        ("results.jsonl", [field.name for field in msgspec.structs.fields(TrialRecord)]),
        ("a history", [field.name for field in dataclasses.fields(Event)]),
    ],
)
def test_the_documented_fields_are_those_of_a_line(what: str, fields: list[str]) -> None:
    text = (Path(__file__).parents[1] / "docs" / "results.md").read_text("utf-8")
    text = text.partition(f"## A line of {what}")[2]
    table = text[text.index("| field |") :].partition("\n\n")[0].splitlines()[2:]
    cells = [line.split("|")[1] for line in table]
    documented = [name.strip(" `") for cell in cells for name in cell.split(",")]
    assert sorted(documented) == sorted(fields)


# The directory ----------------------------------------------------------------------------------


def test_a_run_has_a_directory_of_its_own_and_latest_points_to_it(tmp_path: Path) -> None:
    reports = tmp_path / "deep" / "reports"
    first, second = RunDirectory.create(reports), RunDirectory.create(reports)
    assert first.path != second.path
    assert first.plans.is_dir()
    assert first.histories.is_dir()
    assert read_records(second.results_path) == []
    assert os.readlink(reports / "latest") == second.run_id  # noqa: PTH115 - the text of the link
    again = RunDirectory.open_existing(reports / "latest")
    assert again.path == second.path.resolve()
    assert again.run_id == second.run_id
    assert {each.name for each in reports.iterdir()} == {first.run_id, second.run_id, "latest"}


def test_a_latest_of_the_users_own_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "latest").write_text("mine")
    run = RunDirectory.create(tmp_path)
    assert (tmp_path / "latest").read_text() == "mine"
    assert {each.name for each in tmp_path.iterdir()} == {run.run_id, "latest"}


def test_a_file_system_without_links_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    assert RunDirectory.create(tmp_path).results_path.exists()


def test_a_place_that_cannot_be_written_is_refused_before_the_run(tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.touch()
    for place in (taken, Path("/proc/palace-lab-reports")):
        with pytest.raises(UsageError) as caught:
            RunDirectory.create(place)
        said = str(caught.value)
        assert said.startswith(f"cannot write reports to {place}: ")
        assert said.endswith("; choose another with --report-dir")
        assert int(caught.value.exit_code) == 2


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "make room"), (errno.EMFILE, "allow more open files (ulimit -n)")],
)
def test_a_run_that_breaks_off_says_what_to_do(tmp_path: Path, number: int, remedy: str) -> None:
    run = RunDirectory.create(tmp_path)
    said = str(run.broke_off(OSError(number, os.strerror(number))))
    assert f": {os.strerror(number)}; " in said
    assert remedy in said
    assert said.endswith(f"palace-lab run --resume {run.path}")
    said = str(run.broke_off(OSError(number, os.strerror(number)), command="ablate"))
    assert said.endswith(f"palace-lab ablate --resume {run.path}")


def test_only_a_directory_of_a_run_is_gone_on_with(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(UsageError, match="no directory of a run"):
            RunDirectory.open_existing(place)


def test_paths_in_records_stay_inside(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path)
    path = run.plan_path("s1/killed-in-pickle", "0.6.3", "as-reported", 3)
    assert run.relative(path) == "plans/s1+killed-in-pickle--0.6.3--as-reported--0003.json"
    assert run.absolute(run.relative(path)) == path
    for outside in ("../x.json", "/etc/passwd", "plans/../../x"):
        with pytest.raises(UsageError, match="not in its run"):
            run.absolute(outside)


NAMES = st.text(alphabet=st.sampled_from("aB1-/._+ ~é\0\n"), min_size=1, max_size=12)


@given(st.lists(st.tuples(NAMES, NAMES, NAMES, st.integers(0, 20_000)), max_size=30))
def test_two_trials_never_share_a_file(keys: list[tuple[str, str, str, int]]) -> None:
    run = RunDirectory(Path("run"))
    paths = {run.plan_path(*key) for key in keys} | {run.history_path(*key) for key in keys}
    assert len(paths) == 2 * len(set(keys))
    for path in paths:
        assert path.parent in (run.plans, run.histories)
        assert len(path.name) < 255
        assert path.name.isascii()
        assert path.name.isprintable()
        assert not path.name.startswith((".", "-"))


def test_a_separator_inside_a_name_separates_nothing() -> None:
    run = RunDirectory(Path("run"))
    assert run.plan_path("s--1", "2", "off", 0) != run.plan_path("s", "1--2", "off", 0)


def test_a_very_long_name_still_is_a_file_name(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path)
    paths = {run.plan_path("s1/" + "x" * 3000 + end, "1" * 300, "off", 1) for end in "ab"}
    assert len(paths) == 2
    for path in paths:
        path.touch()
