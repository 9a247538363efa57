"""The lease and the shared state with real processes, and no chromadb."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import palace_store
import palace_store.lease as lease_module
import palace_store.state as state_module
from palace_store.errors import LeaseLostError, LeaseTimeoutError, StaleLibraryError
from palace_store.lease import Lease
from palace_store.owner import Owner, boot_id
from palace_store.state import (
    EVERYTHING,
    Hold,
    State,
    Turn,
    names,
    read_state,
    sweep,
    write_state,
)
from palace_store.version_guard import newest, refuse_if_older

ROOT = Path(palace_store.__file__).parent.parent
#: What a peer does: one line of Python each, after which it says so and waits for a line.
PEER = """
import sys
sys.path.append(sys.argv[1])
from pathlib import Path
from palace_store.lease import Lease
from palace_store.errors import LeaseLostError
lease = Lease(Path(sys.argv[2]), timeout_s=20)
with lease.{how}:
    print("in", flush=True)
    sys.stdin.readline()
    {then}
print("out", flush=True)
"""


@contextmanager
def peer(palace: Path, how: str, then: str = "pass") -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", PEER.format(how=how, then=then), str(ROOT), str(palace)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def says(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)


@pytest.mark.parametrize("how", ["exclusive()", "shared()", "hold(60)"])
def test_a_waiter_is_bounded_and_told_who_holds_the_palace(tmp_path: Path, how: str) -> None:
    with peer(tmp_path, how) as holder:
        assert says(holder) == "in"
        stop(holder)
        began = time.monotonic()
        with pytest.raises(LeaseTimeoutError) as caught, Lease(tmp_path, timeout_s=0.3).exclusive():
            pass
        assert 0.3 <= time.monotonic() - began < 5
    assert caught.value.holder == holder.pid
    assert f"process {holder.pid}" in str(caught.value)
    assert "kill -CONT" in str(caught.value)
    assert caught.value.effect == "none"


@pytest.mark.parametrize("how", ["exclusive()", "hold(60)"])
def test_a_dead_holder_frees_the_palace_at_once(tmp_path: Path, how: str) -> None:
    with peer(tmp_path, how) as holder:
        assert says(holder) == "in"
        holder.kill()
        holder.wait()
        with Lease(tmp_path, timeout_s=0.2).exclusive() as state:
            assert state.hold is None


@pytest.mark.parametrize("overtaking", ["exclusive()", "hold(60)"])
def test_a_holder_stopped_past_its_term_is_overtaken_and_fenced(
    tmp_path: Path, overtaking: str
) -> None:
    then = """
    try:
        with lease.exclusive():
            print("changed", flush=True)
    except LeaseLostError as error:
        print(error, flush=True)"""
    with peer(tmp_path, "hold(0.05)", then) as holder:
        assert says(holder) == "in"
        stop(holder)
        with peer(tmp_path, overtaking) as second:
            assert says(second) == "in"
            tell(second)
            assert says(second) == "out"
        holder.send_signal(signal.SIGCONT)
        tell(holder)
        assert "its term ran out" in says(holder)
        assert says(holder) == "out"  # giving back what it lost is no error


def test_a_reader_does_not_overtake(tmp_path: Path) -> None:
    """It changes nothing, so there is nothing a holder out of time would have to be told."""
    lease = Lease(tmp_path)
    with lease.hold(0.01):
        time.sleep(0.02)
        with Lease(tmp_path, timeout_s=1).shared():
            pass
        with lease.exclusive():
            pass


def test_readers_share_and_a_writer_waits_for_them(tmp_path: Path) -> None:
    readers = [Lease(tmp_path, timeout_s=0.2) for _ in range(2)]
    with (
        readers[0].shared(),
        readers[1].shared(),
        pytest.raises(LeaseTimeoutError) as caught,
        Lease(tmp_path, timeout_s=0.2).exclusive(),
    ):
        pass
    assert caught.value.holder == os.getpid()
    with Lease(tmp_path, timeout_s=0.2).exclusive():
        pass


def test_one_that_is_stopped_while_it_waits_holds_nobody_up_for_long(tmp_path: Path) -> None:
    turn = tmp_path / ".palace" / "turn"
    with ExitStack() as waiters:
        with Lease(tmp_path).exclusive():
            waiting = waiters.enter_context(peer(tmp_path, "exclusive()"))
            until = time.monotonic() + 20
            while not _is_locked(turn) and time.monotonic() < until:
                time.sleep(0.01)  # the kernel tells nobody that a file was locked
            stop(waiting)
            assert _is_locked(turn)
        began = time.monotonic()
        with Lease(tmp_path, timeout_s=20).exclusive():
            assert time.monotonic() - began < 10
        with Lease(tmp_path, timeout_s=0.2).exclusive():  # half of even a short wait is its own
            assert _is_locked(turn)


def _is_locked(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


@pytest.mark.nightly  # a measurement: four processes on two cores that also run other tests
def test_busy_writers_take_turns(tmp_path: Path) -> None:
    """A writer that never rests does not shut the others out (22 turns to 330 without a queue)."""
    script = """
import sys, time
sys.path.append(sys.argv[1])
from pathlib import Path
from palace_store.lease import Lease
lease = Lease(Path(sys.argv[2]), timeout_s=20)
sys.stdin.readline()
longest, done, until = 0.0, 0, time.monotonic() + 1.5
while time.monotonic() < until:
    began = time.monotonic()
    with lease.exclusive():
        longest = max(longest, time.monotonic() - began)
        time.sleep(0.002)
    done += 1
print(done, longest, flush=True)
"""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(ROOT), str(tmp_path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    for writer in writers:
        tell(writer)
    rows = [says(writer).split() for writer in writers]
    for writer in writers:
        writer.communicate()
    counts = [int(row[0]) for row in rows]
    assert min(counts) * 4 > max(counts), rows


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the one number that all clocks of the lease show; its pauses move it on."""
    now = [1000.0]
    monkeypatch.setattr(lease_module, "_boot_clock_s", lambda: now[0])
    monkeypatch.setattr(lease_module.time, "monotonic", lambda: now[0])

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(lease_module.time, "sleep", sleep)
    return now


@pytest.mark.parametrize(
    ("until_s", "left_s", "gap_s", "waited_s"),
    [
        (1001.0, 1000.0, 0.005, 0.005),  # it may come back for so long
        (1001.0, 1000.0, 0.05, 0.05),
        (1000.002, 1000.0, 0.005, 0.002),  # its turn ends before that
        (1001.0, 999.9, 0.05, 0.0),  # it has not come back
        (999.0, 1000.0, 0.005, 0.0),  # its turn is over
        (900001.0, 900000.0, 0.05, 0.0),  # it was left in a boot that lasted longer than this one
        (900001.0, 1000.0, 900000.0, 0.05),  # no gap is so long
    ],
)
def test_others_let_the_one_pass_whose_turn_it_is(
    tmp_path: Path, clock: list[float], until_s: float, left_s: float, gap_s: float, waited_s: float
) -> None:
    lease = Lease(tmp_path)
    with lease.exclusive() as state:
        turn = Turn(os.getpid() + 1, until_s, left_s, gap_s)
        write_state(tmp_path, state.changed(turn=turn), durable=False)
    with lease.exclusive():
        took_s = clock[0] - 1000.0
    pause_s = 0.004 if waited_s else 0.0  # of one that looks and comes back
    assert waited_s - 1e-6 <= took_s <= max(waited_s, pause_s) + 1e-6


def test_a_turn_lasts_four_times_its_first_change_and_a_second_at_most(
    tmp_path: Path, clock: list[float]
) -> None:
    lease = Lease(tmp_path)
    ends, gaps = [], []
    for took_s in (0.01, 0.02, 0.03, 5.0):  # the second one within the turn, the third after it
        with lease.exclusive() as state:
            clock[0] += took_s
            turn = lease.turn(state)
            write_state(tmp_path, state.changed(turn=turn), durable=False)
        assert (turn.pid, turn.left_s) == (os.getpid(), clock[0])
        ends.append(turn.until_s - 1000.0)
        gaps.append(turn.gap_s)
    assert ends == pytest.approx([0.05, 0.05, 0.18, 6.06])
    assert gaps == pytest.approx([0.005, 0.005, 0.0075, 0.05])  # a quarter of the first change


def test_a_turn_of_an_earlier_boot_is_not_gone_on_with(tmp_path: Path, clock: list[float]) -> None:
    lease = Lease(tmp_path)
    with lease.exclusive() as state:
        before = Turn(os.getpid(), 900001.0, 900000.0)
        clock[0] += 0.01
        turn = lease.turn(state.changed(turn=before))
    assert turn.until_s == pytest.approx(clock[0] + 0.04)


def test_a_state_from_before_gaps_were_written_is_read(tmp_path: Path) -> None:
    with Lease(tmp_path).exclusive() as state:
        turn = Turn(os.getpid(), 1.0, 2.0)
        write_state(tmp_path, state.changed(turn=turn), durable=False)
    (path,) = (tmp_path / ".palace").glob("state*")
    raw = json.loads(path.read_text())
    del raw["turn"]["gap_s"]
    path.write_text(json.dumps(raw))
    assert read_state(tmp_path).turn == turn


def test_holds_do_not_nest_and_terms_are_positive(tmp_path: Path) -> None:
    lease = Lease(tmp_path)
    with lease.hold(60), pytest.raises(ValueError, match="do not nest"), lease.hold(60):
        pass
    with pytest.raises(ValueError, match="above 0"), lease.hold(0):
        pass
    with pytest.raises(ValueError, match="above 0"):
        Lease(tmp_path, timeout_s=float("nan"))
    with Lease(tmp_path, timeout_s=float("inf")).exclusive():
        assert Lease(tmp_path, timeout_s=1e12).timeout_s == threading.TIMEOUT_MAX


def test_a_process_number_given_again_is_another_owner() -> None:
    here = Owner.current()
    assert here.alive()
    assert not Owner(here.pid, here.started - 1, here.boot).alive()
    assert not Owner(here.pid, here.started, "another-boot").alive()
    with subprocess.Popen([sys.executable, "-c", "pass"]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        assert not Owner(ended.pid, 1, boot_id()).alive()  # a zombie holds nothing


def test_a_hold_of_a_reused_number_is_no_hold(tmp_path: Path) -> None:
    Lease(tmp_path)
    (tmp_path / ".palace").mkdir()
    here = Owner.current()
    for owner in (Owner(here.pid, here.started + 1, here.boot), Owner(here.pid, 1, "old boot")):
        write_state(tmp_path, State(hold=Hold(owner, 3, 1e12), token=3), durable=False)
        with Lease(tmp_path, timeout_s=0.2).exclusive() as state:
            assert state.hold is None


def test_a_hold_of_another_container_lasts_until_its_term(tmp_path: Path) -> None:
    """Its owner has no number here, and lives all the same."""
    (tmp_path / ".palace").mkdir()
    here = Owner.current()
    assert here.space.startswith("pid:[")
    there = Owner(1 << 22, 1, here.boot, "pid:[1]")
    for left_s, holder in ((60.0, there.pid), (-1.0, None)):
        now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        write_state(tmp_path, State(hold=Hold(there, 3, now_s + left_s), token=3), durable=False)
        lease = Lease(tmp_path, timeout_s=0.2)
        if holder is None:
            with lease.exclusive():
                continue
        with pytest.raises(LeaseTimeoutError) as told, lease.exclusive():
            pass
        assert told.value.holder == holder


IN_A_CONTAINER = """
import sys
from palace_store.lease import Lease
with Lease(__import__("pathlib").Path(sys.argv[1])).hold(60):
    print("holds", flush=True)
    sys.stdin.readline()
"""


def test_a_real_process_of_another_container_is_not_overtaken(tmp_path: Path) -> None:
    apart = ["unshare", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*apart, "true"], capture_output=True, check=False, timeout=30).returncode:
        pytest.skip("this user may not make a PID namespace")
    with subprocess.Popen(
        [*apart, sys.executable, "-c", IN_A_CONTAINER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert says(holder) == "holds"
        with pytest.raises(LeaseTimeoutError), Lease(tmp_path, timeout_s=0.2).exclusive():
            pass
        tell(holder)
    with Lease(tmp_path, timeout_s=10).exclusive() as state:
        assert state.hold is None


# -- state ---------------------------------------------------------------------------------


STATES = st.builds(
    State,
    generation=st.integers(0, 2**62),
    chromadb=st.sampled_from(["", "0.6.3", "1.5.9", "1.6.0rc1"]),
    retained=st.booleans(),
    lossy=st.booleans(),
    open_flush=st.lists(st.text(max_size=5)).map(tuple),
    read_back=st.lists(st.text(max_size=5), max_size=3).map(tuple),
    left=st.none() | st.lists(st.text(max_size=5), max_size=3).map(tuple),
    trim_at=st.integers(0),
    token=st.integers(0, 2**62),
    hold=st.none()
    | st.builds(
        Hold,
        st.builds(Owner, st.integers(1, 2**22), st.integers(0, 2**40), st.text(max_size=5)),
        st.integers(0, 2**62),
        st.floats(0, 1e9),
    ),
)


@given(state=STATES, durable=st.booleans())
def test_what_is_written_is_read(
    state: State, durable: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    palace = tmp_path_factory.getbasetemp() / "state"
    (palace / ".palace").mkdir(parents=True, exist_ok=True)
    write_state(palace, state, durable=durable)
    assert read_state(palace) == state
    assert [path.name for path in (palace / ".palace").iterdir()] == ["state.json"]


def test_what_thousands_of_collections_need_is_read_again(tmp_path: Path) -> None:
    (tmp_path / ".palace").mkdir()
    indexes = tuple(f"{uuid.UUID(int=number)} {number:016x}" for number in range(5000))
    state = State(generation=7, chromadb="1.5.9", read_back=indexes, left=indexes)
    write_state(tmp_path, state, durable=False)
    assert read_state(tmp_path) == state


def test_what_would_be_too_long_to_be_read_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_module, "_BYTES_MAX", 2000)
    (tmp_path / ".palace").mkdir()
    many = tuple(f"index {number}" for number in range(1000))
    kept = State(generation=7, chromadb="1.5.9", retained=True, token=3)
    kept = kept.changed(hold=Hold(Owner(1, 2, "boot"), 3, 9.0))
    write_state(tmp_path, kept.changed(read_back=many, left=many), durable=False)
    assert read_state(tmp_path) == kept  # the files are compared anew, and nothing is rebuilt
    write_state(tmp_path, kept.changed(open_flush=many, left=many), durable=False)
    assert read_state(tmp_path) == kept.changed(open_flush=(EVERYTHING,))


GOOD = {
    "generation": 7, "chromadb": "1.0.0", "retained": True, "lossy": False, "open_flush": [],
    "read_back": [], "left": None, "token": 1, "hold": None,
}  # fmt: skip
CHANGES: list[dict[str, Any]] = [
    {"generation": "7"}, {"generation": True}, {"generation": None}, {"retained": 1},
    {"chromadb": "newest"}, {"chromadb": None}, {"open_flush": "x"}, {"open_flush": [1]},
    {"hold": 3}, {"hold": {}}, {"hold": {"owner": 1, "token": 1, "expires_s": 1.0}},
    {"token": 1.5}, {"read_back": None}, {"left": "no list"},
]  # fmt: skip
GARBAGE = [
    b"", b"{", b"null", b"[]", b"\xff\xfe", b"[" * 50_000, b" " * 100_000 + b"{}", b"7",
    *(json.dumps({**GOOD, **change}).encode() for change in CHANGES),
    json.dumps({key: GOOD[key] for key in GOOD if key != "token"}).encode(),
]  # fmt: skip


@pytest.mark.parametrize("text", GARBAGE)
def test_an_unreadable_state_makes_everything_suspicious(tmp_path: Path, text: bytes) -> None:
    (tmp_path / ".palace").mkdir()
    (tmp_path / ".palace" / "state.json").write_bytes(text)
    found = read_state(tmp_path)
    assert names(found.open_flush, "whatever")
    assert not found.retained
    assert found.generation > time.time_ns() - 10**12  # no client can have seen it
    assert found.hold is None


def test_an_unreadable_state_fences_whoever_held_the_palace(tmp_path: Path) -> None:
    lease = Lease(tmp_path)
    with lease.hold(60):
        (tmp_path / ".palace" / "state.json").write_bytes(b"garbage")
        with pytest.raises(LeaseLostError), lease.exclusive():
            pass


def test_a_generation_is_new_also_after_the_state_was_lost() -> None:
    seen = State(generation=5).next_generation()
    assert seen > 5
    assert State().next_generation() > seen
    far = time.time_ns() * 2
    assert State(generation=far).next_generation() == far + 1


def test_what_dead_writers_left_is_swept_up(tmp_path: Path) -> None:
    directory = tmp_path / ".palace"
    directory.mkdir()
    write_state(tmp_path, State(token=4), durable=True)
    for pid in (1, 2):
        (directory / f"state.json.{pid}.new").write_text("{")
    sweep(tmp_path)
    assert [path.name for path in directory.iterdir()] == ["state.json"]
    assert read_state(tmp_path).token == 4


def test_notes_mean_one_collection_or_all() -> None:
    assert names(("a",), "a")
    assert not names(("a",), "b")
    assert names(("a", EVERYTHING), "b")
    assert not names((), "b")


# -- version guard -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("running", "palace", "refused"),
    [
        ("0.6.3", "1.5.9", True), ("1.5.9", "1.5.10", True), ("1.5", "1.5.1", True),
        ("1.5.9", "1.5.9", False), ("1.5.10", "1.5.9", False), ("1.6.0rc1", "1.6.0", False),
        ("1.5.9", "", False), ("2", "1.99.99", False),
    ],
)  # fmt: skip
def test_an_older_release_is_refused_with_both_versions(
    running: str, palace: str, refused: bool
) -> None:
    if refused:
        with pytest.raises(StaleLibraryError) as caught:
            refuse_if_older(running, palace, "p")
        assert (caught.value.running, caught.value.palace) == (running, palace)
        assert running in str(caught.value)
        assert palace in str(caught.value)
        assert caught.value.effect == "none"
        assert newest(running, palace) == palace
    else:
        refuse_if_older(running, palace, "p")
        assert newest(running, palace) == running
