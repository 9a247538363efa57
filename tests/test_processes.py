from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it is published without type information
import pytest

from palace_lab.errors import DeadlineError, LabError, RefusedError, UsageError
from palace_lab.processes import wire
from palace_lab.processes.roots import make_import_root
from palace_lab.processes.supervise import (
    Exit,
    Host,
    Limits,
    Worker,
    WorkerGoneError,
    wait_any,
)

ENTRIES = Path(__file__).parent / "entries"
PYTHON = Path(sys.executable)


def make_host(scratch: Path, **options: object) -> Host:
    root = make_import_root(scratch / "root")
    arguments: dict[str, object] = {"name": "test", "preload": (), "extra_roots": [ENTRIES]}
    return Host(PYTHON, root, scratch, **{**arguments, **options})  # type: ignore[arg-type]  # options of each test


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with make_host(tmp_path_factory.mktemp("host")) as host:
        yield host
        assert host.leaks() == ()


def launch(host: Host, entry: str, **config: object) -> Worker:
    return host.launch(entry, entry=f"process_entries:{entry}", config=config)


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def gone(pid: int, within_s: float = 10.0) -> bool:
    """Wait, bounded, until a process has ended; one that only waits to be reaped has."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.005)
    return False


def test_messages_go_both_ways_and_a_return_is_a_clean_exit(host: Host) -> None:
    with launch(host, "echo", shelf=[1, None, "ü"]) as worker:
        assert worker.receive(10) == {"config": {"shelf": [1, None, "ü"]}, "pid": worker.pid}
        assert worker.alive
        worker.send({"book": 1})
        assert worker.receive(10) == {"echo": {"book": 1}}
        worker.send({"stop": True})
        exit_ = worker.wait_exit(10)
        assert (exit_.code, exit_.signal, exit_.by_lab, exit_.clean) == (0, None, False, True)
        assert exit_.usage.maxrss_bytes > 1_000_000
        assert not worker.alive
        assert not worker.kill()


@pytest.mark.parametrize(
    ("how", "code", "number"),
    [
        ("return", 0, None),
        ("exit 3", 3, None),
        ("exit text", 1, None),
        ("raise", 70, None),
        ("SIGSEGV", None, signal.SIGSEGV),
        ("SIGABRT", None, signal.SIGABRT),
        ("SIGINT", None, signal.SIGINT),
        ("SIGKILL", None, signal.SIGKILL),
    ],
)
def test_every_end_is_seen_as_what_it_is(
    host: Host, how: str, code: int | None, number: int | None
) -> None:
    with launch(host, "end", how=how) as worker:
        exit_ = worker.wait_exit(10)
        assert (exit_.code, exit_.signal) == (code, number)
        assert not exit_.by_lab
        assert worker.receive(10) == {"before": "the end"}  # what was sent is not lost
        with pytest.raises(WorkerGoneError) as caught:
            worker.receive(10)
        assert caught.value.exit == exit_
        assert ("the shelf is empty" in (exit_.crash or "")) == (how == "raise")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_death_the_lab_caused_says_so(host: Host, number: int) -> None:
    with launch(host, "echo") as worker:
        worker.receive(10)
        assert worker.signal(number)
        exit_ = worker.wait_exit(10)
        assert (exit_.signal, exit_.by_lab) == (number, True)
        with pytest.raises(WorkerGoneError):
            worker.send({"are you": "there"})


def test_a_worker_killed_before_it_begins_is_seen(host: Host) -> None:
    for _ in range(20):
        with launch(host, "echo") as worker:
            worker.kill()
            assert worker.wait_exit(10).by_lab


def test_a_paused_worker_does_nothing(host: Host) -> None:
    with launch(host, "echo") as worker:
        worker.receive(10)
        for number in range(3):
            worker.pause()
            worker.send({"number": number})
            assert wait_any([worker], 0.02) == []
            worker.unpause()
            assert worker.receive(10) == {"echo": {"number": number}}
        worker.kill()
        worker.wait_exit(10)
        with pytest.raises(WorkerGoneError):
            worker.pause()


def test_die_ends_an_untraced_worker(host: Host) -> None:
    with launch(host, "echo") as worker:
        worker.die()
        assert worker.wait_exit(10).by_lab


def test_an_exit_describes_itself() -> None:
    assert Exit(None, 11, by_lab=False).describe() == "died by SIGSEGV"
    assert Exit(None, 9, by_lab=True).describe() == "died by SIGKILL sent by the lab"
    assert Exit(70, None, by_lab=False, crash="Traceback\nKeyError: 1\n").describe() == (
        "ended with exit code 70: KeyError: 1"
    )


def test_a_wait_that_runs_out_carries_the_stack(host: Host) -> None:
    with launch(host, "stuck_in_the_cellar") as worker:
        worker.receive(10)
        with pytest.raises(DeadlineError, match="stuck_in_the_cellar"):
            worker.receive(0.05)
        worker.signal(signal.SIGSTOP)
        with pytest.raises(DeadlineError, match=r"did not end within 0\.05 s"):
            worker.wait_exit(0.05)


def test_a_worker_sees_its_own_environment_and_lab_code_by_path(tmp_path: Path) -> None:
    scratch = tmp_path.resolve()
    with make_host(scratch, environ={"SHELF": "7", "HOME": "/nowhere"}) as host:
        with launch(host, "surroundings") as worker:
            seen = worker.receive(10)
            worker.wait_exit(10)
            assert worker.log.read_text() == "to the log\n"
        with launch(host, "surroundings") as worker:
            again = worker.receive(10)
            worker.wait_exit(10)
            assert worker.log.read_text() == "to the log\n" * 2
    with make_host(scratch) as host, launch(host, "surroundings") as worker:
        other = worker.receive(10)
    assert seen["prefix"] == sys.prefix
    for name in ("numpy", "multiprocess"):
        assert Path(seen[name]).is_relative_to(sys.prefix)
    for name in ("palace_lab", "inside"):
        assert Path(seen[name]).is_relative_to(scratch / "root")
    assert seen["path"][-2:] == [str(scratch / "root"), str(ENTRIES)]
    assert str(scratch / "root") not in seen["path"][:-2]
    assert sorted(place.name for place in (scratch / "root").iterdir()) == [
        "palace_lab",
        "palace_store",
    ]
    assert seen["environ"]["SHELF"] == "7"
    assert seen["environ"]["HOME"] == "/nowhere"
    assert seen["hash"] == again["hash"] == other["hash"]
    assert "" not in seen["path"]
    assert set(seen["environ"]) <= {
        "PYTHONHASHSEED",
        "SHELF", "HOME", "PATH", "LANG", "TMPDIR", "LC_CTYPE", "PALACE_LAB_RUN", "PALACE_LAB_HOST"
    }  # fmt: skip
    assert seen["cwd"] == str(scratch)
    assert not seen["faulthandler"]
    assert seen["stdin"] == ""
    assert seen["session_leader"]
    assert seen["core"] == [0, 0]
    assert seen["sockets"] == [seen["channel"]]
    assert again["descriptors"] == seen["descriptors"]


def test_limits_hold(host: Host, tmp_path: Path) -> None:
    def limited(entry: str, limits: Limits, **config: object) -> Worker:
        return host.launch("l", entry=f"process_entries:{entry}", config=config, limits=limits)

    path = tmp_path / "large"
    with limited("large_file", Limits(file_size_bytes=4500), path=str(path)) as worker:
        assert worker.receive(10) == {"errno": errno.EFBIG}
        assert path.stat().st_size == 4500
    with limited("end", Limits(memory_bytes=2**29), how="allocate") as worker:
        assert "MemoryError" in (worker.wait_exit(10).crash or "")
    with limited("end", Limits(cpu_s=1), how="spin") as worker:
        exit_ = worker.wait_exit(30)
        assert (exit_.signal, exit_.by_lab) == (signal.SIGXCPU, True)
        assert "processor time" in exit_.describe()
    with pytest.raises(ValueError, match="cpu_s"):
        Limits(cpu_s=0)


def test_wait_any_returns_whoever_has_something(host: Host) -> None:
    with launch(host, "echo") as one, launch(host, "echo") as two:
        for worker in (one, two):
            worker.receive(10)
        assert wait_any([one, two], 0.01) == []
        two.send({"x": 1})
        assert wait_any([one, two], 10) == [two]
        two.receive(0)
        one.kill()
        assert wait_any([one, two], 10) == [one]


def test_what_a_worker_leaves_behind_is_a_leak_and_is_ended(host: Host) -> None:
    with launch(host, "leave_daemons") as worker, launch(host, "echo") as other:
        pids = worker.receive(20)["pids"]
        assert worker.wait_exit(10).clean
        assert {leak.pid for leak in host.leaks([worker])} == set(pids)
        assert {leak.worker for leak in host.leaks([worker])} == {"leave_daemons"}
        assert [leak.pid for leak in host.leaks([other])] == [other.pid]
        assert {leak.pid for leak in host.leaks()} == {*pids, other.pid}
        worker.close()
        assert not any(psutil.pid_exists(pid) for pid in pids)
        assert host.leaks([worker]) == ()


def test_closing_a_host_ends_everything_below_it(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    with host:
        worker = launch(host, "leave_daemons", stay=True)
        pids = [worker.pid, worker.shepherd, *worker.receive(20)["pids"]]
        assert all(psutil.pid_exists(pid) for pid in pids)
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    with pytest.raises(UsageError, match="not open"):
        launch(host, "echo")


def test_an_interrupted_host_leaves_the_handles_to_those_who_are_at_them(tmp_path: Path) -> None:
    with make_host(tmp_path) as host, ThreadPoolExecutor(4) as pool:
        workers = [launch(host, "leave_daemons", stay=True) for _ in range(4)]
        pids = [pid for worker in workers for pid in worker.receive(20)["pids"]]
        pids += [pid for worker in workers for pid in (worker.pid, worker.shepherd)]
        waiting = [pool.submit(worker.receive, 60) for worker in workers]
        host.interrupt()
        for future in waiting:
            with pytest.raises(LabError, match="ended"):
                future.result(60)
        assert not any(worker.alive for worker in workers)
        assert not [pid for pid in pids if psutil.pid_exists(pid)]
        with pytest.raises(UsageError, match="not open"):
            launch(host, "echo")
    assert all(worker.closed for worker in workers)


def test_a_host_that_is_killed_takes_its_workers_along(tmp_path: Path) -> None:
    with make_host(tmp_path) as host:
        worker = launch(host, "leave_daemons", stay=True)
        pids = worker.receive(20)["pids"]
        process = psutil.Process(worker.shepherd).parent()
        assert process is not None
        process.kill()
        with pytest.raises(LabError, match="host killed"):
            worker.wait_exit(10)
        assert gone(worker.pid)
        with pytest.raises(RefusedError, match="ended by itself"):
            launch(host, "echo")
    # The child came to this process and was swept; the daemon cleared its environment, so it is
    # known only by its ancestry, which died with the host.
    assert not psutil.pid_exists(pids[0])
    psutil.Process(pids[1]).kill()
    os.waitpid(pids[1], 0)


def test_several_threads_of_main_share_a_host(host: Host) -> None:
    def trial(number: int) -> object:
        with launch(host, "echo", number=number) as worker:
            seen = worker.receive(20)["config"]["number"]
            worker.send({"stop": True})
            return seen if worker.wait_exit(20).clean else None

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(trial, range(24))) == list(range(24))


def test_trials_leave_no_descriptor_in_main(host: Host) -> None:
    def trial() -> None:
        with launch(host, "echo") as worker:
            worker.kill()
            worker.wait_exit(10)

    trial()
    before = _descriptors()
    for _ in range(5):
        trial()
    assert _descriptors() == before


def test_a_host_is_started_from_the_main_thread_only(tmp_path: Path) -> None:
    caught: list[BaseException] = []

    def start() -> None:
        try:
            make_host(tmp_path).start()
        except UsageError as error:
            caught.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


def test_environments_that_cannot_work_are_refused(tmp_path: Path) -> None:
    root = make_import_root(tmp_path / "root")
    with (
        pytest.raises(RefusedError, match="no interpreter"),
        Host(tmp_path / "nopython", root, tmp_path, name="n"),
    ):
        pass
    with pytest.raises(UsageError, match="extra_roots"):
        make_host(tmp_path, environ={"PYTHONPATH": "/elsewhere"})
    (tmp_path / "broken_shelf.py").write_text("raise OSError('no wood')")
    with (
        pytest.raises(RefusedError, match="cannot import broken_shelf: OSError: no wood"),
        make_host(tmp_path, preload=("broken_shelf",), extra_roots=[tmp_path]),
    ):
        pass
    false = tmp_path / "false"
    false.write_text("#!/bin/sh\necho no such planet >&2; exit 1\n")
    false.chmod(0o755)
    with (
        pytest.raises(RefusedError, match="no such planet"),
        Host(false, root, tmp_path, name="f"),
    ):
        pass


def test_preloading_skips_what_a_release_does_not_have(tmp_path: Path) -> None:
    with make_host(tmp_path, preload=("json", "nothing_here", "json.nothing", "os.x.y")) as host:
        assert host.facts["loaded"] == ["json"]
        assert host.facts["missing"] == ["nothing_here", "json.nothing", "os.x.y"]


def test_wrong_entries_are_told(host: Host) -> None:
    with pytest.raises(UsageError, match=r"package\.module:function"):
        host.launch("w", entry="process_entries", config={})
    with pytest.raises(UsageError, match="no syscall family"):
        host.launch("w", entry="a:b", config={}, traceable=["mmap"])
    with host.launch("w", entry="process_entries:nothing", config={}) as worker:
        assert "nothing" in (worker.wait_exit(10).crash or "")


def test_messages_are_plain_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    channel, fd = wire.pair(0.2)
    other = wire.Channel(fd)
    with pytest.raises(ValueError, match="plain data"):
        channel.send({"x": {1, 2}})
    with pytest.raises(TimeoutError):
        channel.receive(0.01)
    with pytest.raises(BlockingIOError):  # a peer that never reads costs only the patience
        channel.send({"x": "y" * 10_000_000})
    channel.close()
    channel, fd = wire.pair(0.2)
    peer = wire.Channel(fd)
    monkeypatch.setattr(wire, "MESSAGE_BYTES_MAX", 100)
    with pytest.raises(ValueError, match="exceeds 100"):
        channel.send({"x": "y" * 100})
    peer.close()
    with pytest.raises(EOFError):
        channel.receive(1)
    channel.close()
    other.close()


def test_main_killed_leaves_no_process_and_no_scratch(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from palace_lab.processes.scratch import ScratchDirectory
from palace_lab.processes.roots import make_import_root
from palace_lab.processes.supervise import CrashPoint, Host
with ScratchDirectory(Path(sys.argv[1])) as scratch:
    root = make_import_root(scratch.path / "root")
    entries = [Path(sys.argv[2])]
    with Host(Path(sys.executable), root, scratch.path, name="h", preload=(),
              extra_roots=entries) as host:
        one = host.launch("one", entry="process_entries:leave_daemons", config={"stay": True})
        two = host.launch("two", entry="process_entries:append_on_demand",
                          config={"path": str(scratch.path / "f")},
                          points=[CrashPoint("write", "*/f", action="wait")])
        pids = one.receive(20)["pids"]
        two.send({"number": 1})
        two.hit(20)
        # The daemon has an empty environment: only being a descendant gives it away, and if the
        # host dies before it has seen main's end nobody knows. The child carries the run's id.
        print(scratch.path, pids[1], one.pid, one.shepherd, two.pid, two.shepherd, pids[0],
              scratch._janitor.pid, flush=True)
        sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), str(ENTRIES)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as main:
        assert main.stdout is not None
        words = main.stdout.readline().split()
        scratch, daemon, pids = Path(words[0]), int(words[1]), [int(word) for word in words[2:]]
        host = psutil.Process(pids[1]).ppid()
        assert scratch.is_dir()
        main.kill()
    try:
        assert [pid for pid in [host, *pids] if not gone(pid)] == []
        assert not scratch.exists()
        assert list(tmp_path.iterdir()) == []
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(daemon, signal.SIGKILL)


def test_close_is_bounded_and_repeatable(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    with host:
        worker = launch(host, "echo")
        worker.receive(10)
        worker.signal(signal.SIGSTOP)
        started = time.monotonic()
        worker.close()
        worker.close()
        assert time.monotonic() - started < 10
        assert gone(worker.pid)
        assert not worker.alive
    host.close()
