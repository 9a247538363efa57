"""A history survives whatever happens to its writer, and is read back as it was written."""

from __future__ import annotations

import itertools
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palace_lab.errors import LabError
from palace_lab.history import segment as history
from palace_lab.history.merge import Call, calls, merge, write_jsonl
from palace_lab.history.segment import (
    PHASES,
    RECORD_BYTES,
    Event,
    HistoryFullError,
    Phase,
    Recorder,
    read_segment,
)

TEXT_BYTES_MAX = 456
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


def within(bytes_max: int) -> st.SearchStrategy[str]:
    return st.text(CHARACTERS, max_size=bytes_max).filter(lambda s: len(s.encode()) <= bytes_max)


NAMES, OPS, TEXTS = within(44), within(24), st.text(max_size=600)
Record = tuple[Phase, str, int, int, int, int, str]
RECORDS: st.SearchStrategy[Record] = st.tuples(
    st.sampled_from(PHASES),
    OPS,
    st.integers(0, 2**32 - 1),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**31), 2**31 - 1),
    TEXTS,
)


def put(recorder: Recorder, record: Record) -> None:
    phase, op, call, first, count, revision, text = record
    recorder.write(phase, op, call, first=first, count=count, revision=revision, text=text)


def segment(directory: Path, name: str = "w", capacity: int = 8) -> tuple[Path, Recorder]:
    path = directory / f"{name}.hist"
    return path, Recorder(path, name, capacity=capacity)


# What is written is read back --------------------------------------------------------------------


@settings(max_examples=60)
@given(NAMES, st.lists(RECORDS, max_size=6))
def test_records_come_back_as_they_were_written(name: str, records: list[Record]) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory, "w.hist")
        recorder = Recorder(path, name, capacity=6)
        for record in records:
            put(recorder, record)
        events = list(read_segment(path))
        recorder.close()
    assert [event.time_ns for event in events] == sorted(event.time_ns for event in events)
    for event, (phase, op, call, first, count, revision, text) in zip(events, records, strict=True):
        assert (event.process, event.pid, event.call) == (name, os.getpid(), call)
        assert (event.phase, event.op) == (phase, op)
        assert (event.first, event.count, event.revision) == (first, count, revision)
        whole = text.encode("utf-8", "backslashreplace").decode()
        assert whole.startswith(event.text)
        assert whole == event.text or len(event.text.encode()) > TEXT_BYTES_MAX - 4


@pytest.mark.parametrize("character", ["a", "é", "€", "🜨"])
@pytest.mark.parametrize("lead", range(4))
def test_a_long_text_is_cut_between_characters(tmp_path: Path, character: str, lead: int) -> None:
    path, recorder = segment(tmp_path)
    text = "-" * lead + character * 600
    recorder.write("info", "write", text=text)
    (event,) = read_segment(path)
    width = len(character.encode())
    assert event.text == "-" * lead + character * ((TEXT_BYTES_MAX - lead) // width)


def test_a_text_that_is_no_unicode_is_kept_readable(tmp_path: Path) -> None:
    path, recorder = segment(tmp_path)
    recorder.write("info", "write", text="name \udcff")
    assert [event.text for event in read_segment(path)] == ["name \\udcff"]


def test_calls_are_numbered_from_one(tmp_path: Path) -> None:
    path, recorder = segment(tmp_path)
    numbers = [recorder.invoke("write", first=first, count=2, revision=1) for first in (0, 2)]
    assert numbers == [1, 2]
    assert [(event.call, event.phase, event.first) for event in read_segment(path)] == [
        (1, "invoke", 0),
        (2, "invoke", 2),
    ]


def test_what_is_not_said_is_nothing_and_names_may_be_as_long_as_they_fit(tmp_path: Path) -> None:
    path = tmp_path / "w.hist"
    recorder = Recorder(path, "n" * 44)
    recorder.write("note", "o" * 24)
    recorder.invoke("open")
    events = list(read_segment(path))
    assert [(event.process, event.op) for event in events] == [
        ("n" * 44, "o" * 24),
        ("n" * 44, "open"),
    ]
    assert [event.call for event in events] == [0, 1]
    for event in events:
        assert (event.first, event.count, event.revision, event.text) == (0, 0, 0, "")


# What cannot be written --------------------------------------------------------------------------


def test_names_that_would_have_to_be_cut_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.hist"
    with pytest.raises(ValueError, match="room for 44"):
        Recorder(path, "é" * 23)
    assert not path.exists()
    _, recorder = segment(tmp_path)
    with pytest.raises(ValueError, match="room for 24"):
        recorder.write("note", "x" * 25)


def test_a_segment_is_never_written_over(tmp_path: Path) -> None:
    segment(tmp_path)
    with pytest.raises(FileExistsError):
        segment(tmp_path)


@pytest.mark.parametrize(
    "wrong", [{"count": 2**31}, {"first": 2**63}, {"call": -1}, {"op": "x" * 25}]
)
def test_a_record_that_cannot_be_packed_leaves_no_hole(
    tmp_path: Path, wrong: dict[str, Any]
) -> None:
    path, recorder = segment(tmp_path)
    recorder.write("note", "before")
    with pytest.raises((struct.error, ValueError)):
        recorder.write("note", **{"op": "bad", **wrong})
    recorder.write("note", "after")
    assert [event.op for event in read_segment(path)] == ["before", "after"]


def test_a_full_segment_is_trouble_of_the_lab_and_never_a_short_history(tmp_path: Path) -> None:
    path, recorder = segment(tmp_path, capacity=3)
    for number in range(3):
        recorder.write("note", f"n{number}")
    assert [event.op for event in read_segment(path)] == ["n0", "n1", "n2"]
    for _ in range(2):
        with pytest.raises(HistoryFullError, match="holds 3 records"):
            recorder.write("note", "n3")
    with pytest.raises(LabError, match=r"w\.hist: .*holds 3 records"):
        list(read_segment(path))


# What a death leaves -----------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from palace_lab.history.segment import Recorder
recorder = Recorder(Path(sys.argv[1]), "w")
out = sys.stdout.buffer
for n in range(30_000):
    call = recorder.invoke("write", first=n, count=1)
    recorder.write("ok", "write", call, first=n, count=1, text=f"drawer {n} " * (n % 40))
    out.write(b"%d\\n" % n)
    out.flush()
"""


@pytest.mark.parametrize("told", [1, 40, 700, 2500])
def test_a_killed_writer_leaves_every_record_it_told_of(tmp_path: Path, told: int) -> None:
    path = tmp_path / "w.hist"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    with writer.stdout as lines:
        for _ in range(told):
            last = int(lines.readline())
        writer.send_signal(signal.SIGKILL)
        rest = [line for line in lines if line.endswith(b"\n")]
    assert writer.wait(timeout=30) == -signal.SIGKILL
    last = int(rest[-1]) if rest else last
    assert last >= told - 1

    events = list(read_segment(path))
    assert {event.pid for event in events} == {writer.pid}
    acknowledged = [call for call in calls(events) if call.phase == "ok"]
    assert len(acknowledged) > last
    # A prefix without a hole, each record whole.
    for number, event in enumerate(events):
        n, ending = divmod(number, 2)
        assert (event.call, event.first, event.count, event.op) == (n + 1, n, 1, "write")
        assert event.phase == ("ok" if ending else "invoke")
        whole = f"drawer {n} " * (n % 40) if ending else ""
        assert event.text == whole[:TEXT_BYTES_MAX]
    assert [call.phase for call in calls(events)][len(acknowledged) :] in ([], ["info"])


@pytest.mark.parametrize("length", [0, 1, 8, 63, 64, RECORD_BYTES - 1, RECORD_BYTES])
def test_a_file_cut_within_its_header_is_an_empty_history(tmp_path: Path, length: int) -> None:
    path, recorder = segment(tmp_path)
    recorder.write("note", "one")
    path.write_bytes(path.read_bytes()[:length])
    assert list(read_segment(path)) == []


@pytest.mark.parametrize("begun", range(9))
def test_a_header_whose_magic_is_not_whole_is_an_empty_history(tmp_path: Path, begun: int) -> None:
    """What is written before the magic may be there or not; it says nothing without it."""
    path, recorder = segment(tmp_path)
    recorder.write("note", "one")
    raw = bytearray(path.read_bytes())
    raw[begun:8] = bytes(8 - begun)
    path.write_bytes(raw)
    assert len(list(read_segment(path))) == (begun == 8)
    raw[8:RECORD_BYTES] = bytes(RECORD_BYTES - 8)
    path.write_bytes(raw)
    if begun < 8:
        assert list(read_segment(path)) == []


def test_a_record_that_was_not_finished_ends_the_history(tmp_path: Path) -> None:
    path, recorder = segment(tmp_path)
    for op in ("one", "two", "three"):
        recorder.write("note", op)
    raw = bytearray(path.read_bytes())
    for length in (2 * RECORD_BYTES + 1, 3 * RECORD_BYTES - 1):
        path.write_bytes(raw[:length])
        assert [event.op for event in read_segment(path)] == ["one"]
    raw[2 * RECORD_BYTES] = 0  # its state byte
    path.write_bytes(raw)
    assert [event.op for event in read_segment(path)] == ["one"]


def test_a_record_counts_only_once_all_of_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its writer dies after the fixed part, before the text."""
    path, recorder = segment(tmp_path)
    recorder.write("note", "one")
    packed: list[Any] = []

    def dying(*values: Any) -> None:
        real(*values)
        packed.append(values)
        raise KeyboardInterrupt

    real = history._pack_into
    with monkeypatch.context() as patched:
        patched.setattr(history, "_pack_into", dying)
        with pytest.raises(KeyboardInterrupt):
            recorder.write("ok", "two", text="whole")
    assert packed
    assert [event.op for event in read_segment(path)] == ["one"]


@pytest.mark.parametrize(("place", "version"), [(8, 9), (12, 1)])
def test_a_history_of_another_version_or_size_is_not_guessed_at(
    tmp_path: Path, place: int, version: int
) -> None:
    path, _ = segment(tmp_path)
    raw = bytearray(path.read_bytes())
    raw[place] = 9
    path.write_bytes(raw)
    with pytest.raises(LabError, match=rf"w\.hist is a history of version {version} with"):
        list(read_segment(path))


# One history of several processes ----------------------------------------------------------------


def event(process: str, call: int, phase: Phase, at: int = 0, pid: int = 1) -> Event:
    return Event(process, pid, call, phase, "write", at, 0, 1, 0, "")


def test_segments_are_merged_by_time(tmp_path: Path) -> None:
    recorders = [segment(tmp_path, name)[1] for name in ("b", "a", "c")]
    wanted = []
    for number, recorder in enumerate(itertools.islice(itertools.cycle(recorders), 9)):
        recorder.write("note", f"n{number}")
        wanted.append(f"n{number}")
    (tmp_path / "notes.txt").write_text("not a segment")
    (tmp_path / "d.hist").write_bytes(b"")  # its process died before it had begun
    events = merge(tmp_path)
    assert [each.op for each in events] == wanted
    assert [each.process for each in events] == ["b", "a", "c"] * 3


def test_events_of_one_moment_are_ordered_by_process_and_keep_their_own_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "monotonic_ns", lambda: 5)
    for name in ("b", "a"):
        _, recorder = segment(tmp_path, name)
        for op in ("x", "y"):
            recorder.write("ok", op, recorder.invoke(op))
    assert [(each.process, each.op, each.phase) for each in merge(tmp_path)] == [
        (name, op, phase) for name in "ab" for op in "xy" for phase in ("invoke", "ok")
    ]


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(1, 2), st.sampled_from(("ok", "info", None))),
        unique_by=lambda item: item[:2],
    ),
    st.randoms(use_true_random=False),
)
def test_each_call_is_paired_with_its_own_end(
    made: list[tuple[str, int, Phase | None]], random: Any
) -> None:
    """Calls of different processes overlap in any way; a process' name may be used again."""
    waiting = [(process, pid, phase) for process, pid, phase in made]
    open_: list[tuple[str, int, Phase | None]] = []
    events: list[Event] = []
    while waiting or open_:
        if waiting and (not open_ or random.random() < 0.5):
            process, pid, phase = waiting.pop(0)
            events.append(event(process, 1, "invoke", len(events), pid))
            open_.append((process, pid, phase))
        else:
            process, pid, phase = open_.pop(random.randrange(len(open_)))
            if phase is not None:
                events.append(event(process, 1, phase, len(events), pid))
    paired = calls(events)
    assert [(each.begin.process, each.begin.pid) for each in paired] == [one[:2] for one in made]
    assert [each.phase for each in paired] == [phase or "info" for _, _, phase in made]
    for each in paired:
        assert each.begin.phase == "invoke"
        if each.end is not None:
            assert each.end.time_ns > each.begin.time_ns
            assert (each.end.process, each.end.pid) == (each.begin.process, each.begin.pid)


def test_faults_and_notes_are_no_calls_and_a_call_without_end_says_why() -> None:
    begin = event("a", 1, "invoke")
    paired = calls([event("nemesis", 0, "fault"), begin, event("a", 0, "note")])
    assert paired == [Call(begin, None)]
    assert (paired[0].phase, paired[0].text) == ("info", "its process ended inside the call")


def test_a_history_is_written_as_a_line_an_event(tmp_path: Path) -> None:
    events = [event("a", 1, "invoke", 3), event("a", 1, "ok", 4)]
    path = tmp_path / "history.jsonl"
    write_jsonl(events, path)
    lines = path.read_bytes().splitlines()
    assert [msgspec.json.decode(line, type=Event) for line in lines] == events
