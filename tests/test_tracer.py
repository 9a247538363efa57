from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palace_lab.errors import LabError, RefusedError, UsageError
from palace_lab.processes import probe, seccomp, syscalls, tracer
from palace_lab.processes.points import FAMILIES, CrashPoint, Hit
from palace_lab.processes.roots import make_import_root
from palace_lab.processes.supervise import (
    Host,
    TracingMode,
    Worker,
    WorkerGoneError,
    tracing_available,
)

ENTRIES = Path(__file__).parent / "entries"
MODES: tuple[TracingMode, ...] = ("seccomp", "syscall")

traced = pytest.mark.skipif(tracing_available() is not None, reason=str(tracing_available()))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    scratch = tmp_path_factory.mktemp("host")
    root = make_import_root(scratch / "root")
    with Host(
        Path(sys.executable), root, scratch, name="t", preload=(), extra_roots=[ENTRIES]
    ) as host:
        yield host
        assert host.leaks() == ()


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> TracingMode:
    found: TracingMode = request.param
    return found


def launch(
    host: Host,
    entry: str,
    path: Path,
    *points: CrashPoint,
    mode: TracingMode = "auto",
    traceable: tuple[str, ...] = (),
    **config: object,
) -> Worker:
    worker = host.launch(
        entry,
        entry=f"process_entries:{entry}",
        config={"path": str(path), **config},
        points=points,
        traceable=traceable,
        tracing=mode,
        root=path.parent,
    )
    assert worker.tracing == ("seccomp" if mode == "auto" else mode)
    return worker


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@traced
@pytest.mark.parametrize(
    "shape",
    [(1, 8, False), pytest.param((4, 5, False), marks=pytest.mark.nightly), (2, 3, True)],
)
def test_dying_at_k_leaves_exactly_k_minus_1_writes(
    host: Host, tmp_path: Path, mode: TracingMode, shape: tuple[int, int, bool]
) -> None:
    threads, each, child = shape
    total = threads * each * (2 if child else 1)
    for k in range(1, total + 2):
        path = tmp_path / f"f{k}"
        point = CrashPoint("write", "*/f*", k=k)
        with launch(
            host, "append", path, point, mode=mode, threads=threads, each=each, child=child
        ) as worker:
            exit_ = worker.wait_exit(20)
            assert size(path) == k - 1
            if k > total:
                assert exit_.clean
                assert not worker.has_hit
            else:
                assert (exit_.signal, exit_.by_lab) == (signal.SIGKILL, True)
                hit = worker.hit(0)
                assert (hit.k, hit.action, hit.path, hit.size_bytes) == (k, "die", f"f{k}", 1)
                assert hit.exact


@traced
def test_a_death_in_a_child_takes_the_worker_along(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "f"
    point = CrashPoint("write", "*/f", k=3)
    with launch(host, "append", path, point, threads=1, each=2, child=True) as worker:
        assert worker.wait_exit(10).by_lab
        assert worker.hit(0).exact
        assert host.leaks([worker]) == ()


@traced
def test_a_held_thread_waits_while_others_go_on(
    host: Host, tmp_path: Path, mode: TracingMode
) -> None:
    path = tmp_path / "f"
    point = CrashPoint("write", "*/f", k=2, action="wait")
    with launch(host, "append_on_demand", path, point, mode=mode) as worker:
        for number in (1, 2):
            worker.send({"number": number})
            if number == 1:
                assert worker.receive(10) == {"number": 1, "errno": 0}
        hit = worker.hit(10)
        assert (hit.k, hit.action, hit.exact) == (2, "wait", True)
        assert size(path) == 1
        worker.send({"number": 3})
        assert worker.receive(10) == {"number": 3, "errno": 0}
        assert size(path) == 2
        assert worker.resume(hit) == 1
        assert worker.receive(10) == {"number": 2, "errno": 0}
        assert size(path) == 3
        assert worker.resume() == 0
        worker.send({"end": True})
        assert worker.wait_exit(10).clean


@traced
@pytest.mark.parametrize("how", ["die", "kill"])
def test_a_held_call_never_happens_if_the_worker_dies(
    host: Host, tmp_path: Path, mode: TracingMode, how: str
) -> None:
    path = tmp_path / "f"
    point = CrashPoint("write", "*/f", action="wait")
    with launch(host, "append_on_demand", path, point, mode=mode) as worker:
        worker.send({"number": 1})
        worker.hit(10)
        getattr(worker, how)()
        exit_ = worker.wait_exit(10)
        assert (exit_.signal, exit_.by_lab) == (signal.SIGKILL, True)
        assert size(path) == 0
        with pytest.raises(WorkerGoneError):
            worker.hit(1)


@traced
def test_nobody_is_held_for_ever(host: Host, tmp_path: Path) -> None:
    point = CrashPoint("write", "*/f", action="wait", hold_s=0.05)
    with launch(host, "append_on_demand", tmp_path / "f", point) as worker:
        worker.send({"number": 1})
        exit_ = worker.wait_exit(10)
        assert exit_.by_lab
        assert "held at f" in exit_.describe()
        assert size(tmp_path / "f") == 0


@traced
@pytest.mark.parametrize(("repeat", "failing"), [(1, {1}), (2, {2, 3}), (None, {3, 4, 5})])
def test_failing_calls_have_no_effect_and_say_why(
    host: Host, tmp_path: Path, mode: TracingMode, repeat: int | None, failing: set[int]
) -> None:
    path = tmp_path / "f"
    k = min(failing)
    point = CrashPoint("write", "*/f", k=k, action="fail", errno="ENOSPC", repeat=repeat)
    with launch(host, "append_on_demand", path, point, mode=mode) as worker:
        for number in range(1, 6):
            worker.send({"number": number})
            expected = errno.ENOSPC if number in failing else 0
            assert worker.receive(10) == {"number": number, "errno": expected}
        assert size(path) == 5 - len(failing)
        assert [worker.hit(0).k for _ in failing] == sorted(failing)
        worker.kill()


@traced
@pytest.mark.parametrize("repeat", [1, None])
def test_a_slowed_call_waits_and_happens_while_others_go_on(
    host: Host, tmp_path: Path, mode: TracingMode, repeat: int | None
) -> None:
    path = tmp_path / "f"
    point = CrashPoint("write", "*/f", k=2, action="slow", repeat=repeat, delay_s=3.0)
    with launch(host, "append_on_demand", path, point, mode=mode) as worker:
        worker.send({"number": 1})
        assert worker.receive(10) == {"number": 1, "errno": 0}
        began = time.monotonic()
        for number in (2, 3):
            worker.send({"number": number})
        answered_s = []
        for _ in (2, 3):  # either of the two threads may come to its call first
            assert worker.receive(20)["errno"] == 0
            answered_s.append(time.monotonic() - began)
        assert answered_s[1] >= point.delay_s
        if repeat is None:
            assert answered_s[0] >= point.delay_s
        else:
            assert answered_s[1] - answered_s[0] > point.delay_s / 2
        worker.send({"end": True})
        assert worker.wait_exit(10).clean
        assert size(path) == 3


@traced
def test_a_slowed_call_never_happens_if_the_worker_dies(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "f"
    point = CrashPoint("write", "*/f", action="slow", delay_s=60.0)
    with launch(host, "append_on_demand", path, point) as worker:
        worker.send({"number": 1})
        worker.die()
        assert worker.wait_exit(10).by_lab
        assert size(path) == 0


@traced
def test_every_supported_call_is_seen_with_its_file(
    host: Host, tmp_path: Path, mode: TracingMode
) -> None:
    place = tmp_path / "place"
    (place / "sub").mkdir(parents=True)
    points = [CrashPoint(family, f"{place}/*", action="record") for family in FAMILIES]
    with launch(host, "every_call", place, *points, mode=mode) as worker:
        assert worker.wait_exit(10).clean
        found = worker.recorded()
    seen = [(hit.syscall, hit.path.removeprefix("place/"), hit.size_bytes) for hit in found]
    # Which of several calls the C library makes for one of Python's differs by architecture.
    names = {"renameat": "rename", "renameat2": "rename", "unlinkat": "unlink"}
    names |= {"openat": "open", "creat": "open", "pwritev2": "pwritev"}
    assert [(names.get(name, name), path, asked) for name, path, asked in seen] == [
        ("open", "a", 0),
        ("write", "a", 5),
        ("writev", "a", 7),
        ("pwrite64", "a", 2),
        ("pwritev", "a", 3),
        ("ftruncate", "a", 4),
        ("truncate", "a", 3),
        ("fsync", "a", 0),
        ("fdatasync", "a", 0),
        ("close", "a", 0),
        ("rename", "a", 0),
        ("rename", "b", 0),
        ("rename", "c", 0),
        ("unlink", "d", 0),
        ("open", "e", 0),
        ("close", "e", 0),
        ("unlink", "e", 0),
        ("open", "gone", 0),
        ("unlink", "gone", 0),
        ("write", "gone", 3),
    ]
    for family in FAMILIES:
        ks = [hit.k for hit in found if hit.syscall in FAMILIES[family]]
        assert ks == list(range(1, len(ks) + 1))


@traced
@pytest.mark.parametrize("pattern", ["*/b", "*/d"])
def test_a_rename_matches_by_either_path(host: Host, tmp_path: Path, pattern: str) -> None:
    place = tmp_path / "place"
    (place / "sub").mkdir(parents=True)
    point = CrashPoint("rename", pattern)
    with launch(host, "every_call", place, point) as worker:
        assert worker.wait_exit(10).by_lab
    left = {"*/b": "a", "*/d": "c"}[pattern]
    assert sorted(file.name for file in place.iterdir()) == [left, "sub"]


@traced
def test_threads_are_told_apart(host: Host, tmp_path: Path) -> None:
    point = CrashPoint("write", "*/f", action="record")
    with launch(host, "append", tmp_path / "f", point, threads=3, each=4) as worker:
        assert worker.wait_exit(10).clean
        counts = Counter(hit.thread for hit in worker.recorded())
        assert list(counts.values()) == [4, 4, 4]
        assert 0 not in counts


def test_records_beyond_the_bound_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracer, "RECORDED_MAX", 2)
    seen = tracer.Tracer(1, {}, 0, "/", lambda _: None)
    for _ in range(5):
        seen._record(Hit("write", "f", 1, "record", 0, 1))
    assert (len(seen.recorded), seen.recorded_beyond) == (2, 3)


@traced
def test_points_armed_later_count_from_then(host: Host, tmp_path: Path, mode: TracingMode) -> None:
    path = tmp_path / "f"
    with launch(host, "append_on_demand", path, mode=mode, traceable=("write",)) as worker:
        for number in range(3):
            worker.send({"number": number})
            worker.receive(10)
        with pytest.raises(UsageError, match="traceable"):
            worker.arm([CrashPoint("fsync", "*/f")])
        worker.arm([CrashPoint("write", "*/f", k=2)])
        worker.send({"number": 3})
        assert worker.receive(10) == {"number": 3, "errno": 0}
        worker.send({"number": 4})
        assert worker.hit(10).k == 2
        assert worker.wait_exit(10).by_lab
        assert size(path) == 4


@traced
def test_an_untraced_worker_cannot_be_armed(host: Host) -> None:
    with host.launch("e", entry="process_entries:echo", config={}) as worker:
        assert worker.tracing is None
        assert worker.recorded() == []
        with pytest.raises(UsageError):
            worker.arm([CrashPoint("write", "*/f")])
        with pytest.raises(UsageError, match="not traced"):
            worker.resume()


@traced
def test_stop_and_continue_work_on_a_traced_worker(
    host: Host, tmp_path: Path, mode: TracingMode
) -> None:
    point = CrashPoint("write", "*/f", action="record")
    with launch(host, "count_signals", tmp_path / "f", point, mode=mode) as worker:
        worker.receive(10)
        for round_ in range(1, 4):
            worker.pause()
            worker.signal(signal.SIGUSR1)
            worker.send({"count": round_})
            with pytest.raises(LabError, match="sent no message"):
                worker.receive(0.1)
            assert size(tmp_path / "f") == round_ - 1
            worker.unpause()
            assert worker.receive(10) == {"seen": round_}
        assert len(worker.recorded()) == 3
        worker.signal(signal.SIGSTOP)
        worker.kill()
        assert worker.wait_exit(10).signal == signal.SIGKILL


@traced
@pytest.mark.parametrize("how", ["SIGSEGV", "SIGABRT", "exit 3", "return"])
def test_a_traced_worker_ends_like_any_other(
    host: Host, tmp_path: Path, mode: TracingMode, how: str
) -> None:
    point = CrashPoint("write", "*/f", action="record")
    with launch(host, "end", tmp_path / "f", point, mode=mode, how=how) as worker:
        exit_ = worker.wait_exit(10)
        assert not exit_.by_lab
        number = getattr(signal, how) if how.startswith("SIG") else None
        code = {"exit 3": 3, "return": 0}.get(how)
        assert (exit_.code, exit_.signal) == (code, number)


@traced
def test_nothing_traced_outlives_its_shepherd(
    host: Host, tmp_path: Path, mode: TracingMode
) -> None:
    point = CrashPoint("write", "*/f", action="record")
    with launch(host, "leave_daemons", tmp_path / "f", point, mode=mode, stay=True) as worker:
        pids = [worker.pid, *worker.receive(20)["pids"]]
        os.kill(worker.shepherd, signal.SIGKILL)
        with pytest.raises(LabError, match="its shepherd ended first"):
            worker.wait_exit(10)
        deadline = time.monotonic() + 10
        while host.leaks() and time.monotonic() < deadline:
            time.sleep(0.005)
        assert not [pid for pid in pids if Path(f"/proc/{pid}/exe").exists()]


@traced
@pytest.mark.parametrize("thread", [False, True])
def test_programs_a_worker_starts_or_becomes_are_traced(
    host: Host, tmp_path: Path, mode: TracingMode, thread: bool
) -> None:
    path = tmp_path / "f"
    point = CrashPoint("write", "*/f", k=2)
    with launch(host, "run_program", path, point, mode=mode, thread=thread) as worker:
        assert worker.receive(20) == {"child": 0}
        exit_ = worker.wait_exit(20)
        assert (exit_.signal, exit_.by_lab) == (signal.SIGKILL, True)
        assert worker.hit(0).k == 2
        assert size(path) == 1


@traced
def test_a_stack_can_be_had_of_a_held_worker(host: Host, tmp_path: Path) -> None:
    point = CrashPoint("write", "*/f", action="wait")
    with launch(host, "append_on_demand", tmp_path / "f", point) as worker:
        worker.send({"number": 1})
        worker.hit(10)
        assert "work (process_entries.py" in worker.stack()


@traced
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_strace_kills_at_the_same_place(host: Host, tmp_path: Path) -> None:
    code = (
        "import os, sys; fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND);"
        "[os.write(fd, b'x') for _ in range(5)]"
    )
    strace = ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=write"]
    python = [sys.executable, "-I", "-S", "-c", code]
    for k in (1, 3, 5, 6):
        theirs, ours = tmp_path / f"s{k}", tmp_path / f"f{k}"
        theirs.touch()
        inject = f"inject=write:signal=SIGKILL:when={k}"
        done = subprocess.run(
            [*strace, "-e", inject, "-P", str(theirs), *python, str(theirs)],
            check=False,
            timeout=60,
        )
        point = CrashPoint("write", "*/f*", k=k)
        with launch(host, "append", ours, point, threads=1, each=5) as worker:
            exit_ = worker.wait_exit(10)
        assert size(ours) == size(theirs) == k - 1
        assert (exit_.signal == signal.SIGKILL) == (done.returncode == -signal.SIGKILL)


@traced
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_where_tracing_is_not_permitted_it_is_refused(tmp_path: Path) -> None:
    # A process has one tracer: below a strace of the whole host there is no room for ours.
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\nexec strace -D -f -qq -o /dev/null -e trace=none {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    root = make_import_root(tmp_path / "root")
    with Host(python, root, tmp_path, name="t", preload=(), extra_roots=[ENTRIES]) as host:
        with pytest.raises(RefusedError, match="crash points are not available"):
            launch(host, "append", tmp_path / "f", CrashPoint("write", "*/f"))
        with host.launch(
            "u",
            entry="process_entries:append",
            config={"path": str(tmp_path / "f"), "threads": 1, "each": 2},
        ) as worker:
            assert worker.wait_exit(20).clean
        assert host.leaks() == ()


def test_the_probe_gives_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert "riscv64" in (probe.refusal() or "")


@given(
    st.sampled_from(["x86_64", "aarch64"]),
    st.sets(st.sampled_from(sorted(FAMILIES)), min_size=1),
    st.integers(0, 500),
    st.booleans(),
)
def test_the_filter_traces_what_it_should_and_nothing_else(
    machine: str, families: set[str], number: int, native: bool
) -> None:
    calls = syscalls.table(machine, frozenset(families))
    arch = seccomp._AUDIT_ARCH[machine] if native else 0x40000003
    expected = seccomp.RET_TRACE if native and number in calls else seccomp.RET_ALLOW
    assert _run_filter(seccomp.program(machine, calls), number, arch) == expected


def _run_filter(code: bytes, number: int, arch: int) -> int:
    """Interpret the few instructions of classic BPF the filter is made of."""
    instructions = list(struct.iter_unpack("@HBBI", code))
    position = value = 0
    while True:
        operation, if_true, if_false, operand = instructions[position]
        position += 1
        if operation == 0x06:
            return int(operand)
        if operation == 0x20:
            value = {0: number, 4: arch}[operand]
        else:
            assert operation == 0x15
            position += if_true if value == operand else if_false


@pytest.mark.parametrize(
    ("column", "header"),
    [
        (0, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        (1, "/usr/include/asm-generic/unistd.h"),
    ],
)
def test_call_numbers_are_the_kernels(column: int, header: str) -> None:
    if not Path(header).exists():
        pytest.skip(f"the kernel's headers are not installed ({header})")
    lines = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\s", Path(header).read_text())
    known = {name: int(number) for name, number in lines}
    ours = {name: numbers[column] for name, numbers in syscalls._NUMBERS.items()}
    assert ours == {name: known.get(name) for name in ours}


def test_every_family_is_complete() -> None:
    named = {name for names in FAMILIES.values() for name in names}
    assert named == set(syscalls._NUMBERS)
    for machine in ("x86_64", "aarch64"):
        for family in FAMILIES:
            assert syscalls.table(machine, frozenset([family]))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"syscall": "mmap"}, "no crash point at 'mmap'"),
        ({"pattern": "f"}, "write '\\*/f'"),
        ({"pattern": ""}, "can match no absolute path"),
        ({"k": 0}, "k=1"),
        ({"action": "explode"}, "no action 'explode'"),
        ({"errno": "EWHAT"}, "ENOSPC"),
        ({"repeat": 0}, "repeat is 0"),
        ({"hold_s": 0}, "hold_s is 0"),
        ({"action": "slow"}, "'slow' needs a time above 0 s"),
        ({"delay_s": 1.0}, "'slow' needs a time above 0 s, others none"),
    ],
)
def test_impossible_points_are_rejected(change: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        CrashPoint.from_wire({"syscall": "write", "pattern": "*/f", **change})


def test_points_and_hits_survive_the_wire() -> None:
    point = CrashPoint("open", "/x/*", k=3, action="fail", errno="EACCES", repeat=None)
    assert CrashPoint.from_wire(point.to_wire()) == point
    hit = Hit("openat", "x", 3, "fail", 1, 0, ident=4)
    assert Hit.from_wire(hit.to_wire()) == hit
