"""POSIX drops all locks of a process on a file when any descriptor of it is closed there.

First what that does to chromadb when something in its process opens and closes `chroma.sqlite3`,
then that our library never does. The order of events comes from crash points at `close` and
`write`: chromadb 1.x keeps Python's other threads out while it writes, but not one that is already
inside a close.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from palace_lab.processes.supervise import CrashPoint, Hit, WorkerGoneError, tracing_available

sys.path.append(str(Path(__file__).parent / "entries"))
from store_bench import LIMITS, NEWEST, Bench, Told, ToldError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.s1,
    pytest.mark.skipif(tracing_available() is not None, reason=str(tracing_available())),
]

FIRST, SECOND, PEERS = [0, 1, 2], [3, 4, 5], [100, 101, 102]


@pytest.fixture(autouse=True)
def no_palace_yet(bench: Bench) -> None:
    shutil.rmtree(bench.palace, ignore_errors=True)


@contextmanager
def told(bench: Bench, *points: CrashPoint, traced: bool = False, mark: str = "") -> Iterator[Told]:
    bench._made += 1
    config = {"palace": str(bench.palace), **({"mark": mark} if mark else {})}
    with bench.host.launch(
        f"lock{bench._made}",
        entry="lock_entries:serve",
        config=config,
        points=points,
        traceable=("close", "write") if traced else (),
        limits=LIMITS,
        root=bench.directory,
    ) as worker:
        yield Told(worker)


def database(bench: Bench) -> Path:
    return bench.palace / "chroma.sqlite3"


def locks(worker: Told, file: Path) -> list[str]:
    """Return the kinds of POSIX lock the worker has on the file, as the kernel lists them."""
    inode = file.stat().st_ino
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return [
        words[3]
        for words in lines
        if words[1] == "POSIX"
        and int(words[4]) == worker.worker.pid
        and words[5].endswith(f":{inode}")
    ]


def descriptors(worker: Told, file: Path) -> int:
    found = 0
    for entry in Path(f"/proc/{worker.worker.pid}/fd").iterdir():
        try:
            found += entry.readlink() == file
        except FileNotFoundError:
            continue  # closed since
    return found


def free_for_a_peer(file: Path) -> bool:
    db = sqlite3.connect(file, timeout=0, isolation_level=None)
    try:
        db.execute("BEGIN IMMEDIATE")
        db.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        return False
    finally:
        db.close()
    return True


def until_writing(worker: Told, file: Path) -> Hit:
    """Return when the worker is about to write the first page of a transaction: alone, by lock."""
    worker.worker.arm([CrashPoint("write", str(file), 1, "wait")])
    worker.begin("add", numbers=SECOND)
    hit = worker.worker.hit(30)
    assert locks(worker, file) == ["WRITE"]
    assert not free_for_a_peer(file)
    return hit


def intruded(worker: Told, file: Path, how: str) -> Hit:
    """Bring a write to its middle, then close the file in another thread of that process."""
    worker.worker.arm([CrashPoint("close", str(file), 1, "wait")])
    worker.do("intrude_aside", how=how)
    closing = worker.worker.hit(30)
    writing = until_writing(worker, file)
    before = descriptors(worker, file)
    worker.worker.resume(closing)
    until = time.monotonic() + 30
    while descriptors(worker, file) == before:
        assert time.monotonic() < until, "the intruder's close never came to its end"
        time.sleep(0.002)
    return writing


def has_an_sqlite_of_its_own(release: str) -> bool:
    return not release.startswith("0.")


@NEWEST
def test_which_sqlite_chromadb_uses(bench: Bench) -> None:
    """Before 1.0 it is Python's module, from then on one inside chromadb's own binary."""
    with told(bench) as worker:
        assert (worker.do("open") == 0) == has_an_sqlite_of_its_own(bench.release)
        assert descriptors(worker, database(bench)) > 0


@pytest.mark.parametrize("how", ["open", "sqlite3"])
@NEWEST
def test_a_close_drops_the_locks_of_a_write_under_way(bench: Bench, how: str) -> None:
    file = database(bench)
    with told(bench, traced=True) as worker:
        worker.do("open")
        worker.do("add", numbers=FIRST)
        if how == "sqlite3" and not has_an_sqlite_of_its_own(bench.release):
            # The same library in both hands: it puts the close off until the locks are gone.
            worker.worker.arm([CrashPoint("write", str(file), 1, "wait")])
            worker.do("add_aside", numbers=SECOND)
            writing = worker.worker.hit(30)
            worker.do("intrude", how=how)
            assert locks(worker, file) == ["WRITE"]
            assert not free_for_a_peer(file)
            worker.worker.resume(writing)
            return
        intruded(worker, file, how)
        assert locks(worker, file) == []
        assert free_for_a_peer(file)
        worker.worker.kill()


@NEWEST
def test_a_peer_writes_into_the_open_transaction_and_loses_what_it_was_told_is_kept(
    bench: Bench,
) -> None:
    file = database(bench)
    with told(bench, traced=True) as worker, told(bench) as peer:
        worker.do("open")
        worker.do("add", numbers=FIRST)
        writing = intruded(worker, file, "open")
        peer.do("open")
        peer.do("add", numbers=PEERS)  # acknowledged
        peer.do("close")
        worker.worker.resume(writing)
        with pytest.raises(ToldError, match="disk I/O error"):
            worker.answer()
        worker.worker.kill()
    with told(bench) as reader:
        reader.do("open")
        lost = reader.do("lost", numbers=[*FIRST, *PEERS])
    unlisted = [] if has_an_sqlite_of_its_own(bench.release) else PEERS
    assert lost == {"unlisted": unlisted, "not found": PEERS}


@NEWEST
def test_without_the_intruder_the_lock_holds_and_nothing_is_lost(bench: Bench) -> None:
    file = database(bench)
    with told(bench, traced=True) as worker:
        worker.do("open")
        worker.do("add", numbers=FIRST)
        worker.worker.resume(until_writing(worker, file))
        worker.answer()
        assert worker.do("lost", numbers=[*FIRST, *SECOND]) == {"unlisted": [], "not found": []}


# -- our library ---------------------------------------------------------------------------


class Traffic:
    """The opens and closes of the database in one process, told apart by who opened."""

    def __init__(self, hits: list[Hit], mark: Path) -> None:
        self.ours = self.chromadbs = 0  # opened so far
        self.open_ours = self.open_chromadbs = 0  # open at the moment
        self.met: list[str] = []
        marked: set[int] = set()
        for number, hit in enumerate(hits):
            if Path(hit.path).name == mark.name:
                marked.add(hit.thread)
            elif hit.syscall == "close":
                self._close(number)
            elif hit.thread in marked:
                marked.discard(hit.thread)
                self.ours += 1
                self.open_ours += 1
            else:
                self.chromadbs += 1
                self.open_chromadbs += 1
            if self.open_ours and self.open_chromadbs:
                self.met.append(f"call {number} of {len(hits)}: {hit.syscall}")

    def _close(self, number: int) -> None:
        # Where both have it open `met` says so already, and whose this was is not known.
        if self.open_ours:
            self.open_ours -= 1
        else:
            self.open_chromadbs -= 1
        if self.open_chromadbs < 0:
            self.met.append(f"call {number}: the close of a descriptor nobody was seen to open")


@contextmanager
def watched(bench: Bench) -> Iterator[tuple[Told, Path]]:
    """Yield a worker whose opens and closes of the database are recorded, and its mark."""
    mark = bench.directory / "not-chromadb"
    points = [
        CrashPoint("open", str(mark), 1, "record"),
        CrashPoint("open", str(database(bench)), 1, "record"),
        CrashPoint("close", str(database(bench)), 1, "record"),
    ]
    with told(bench, *points, mark=str(mark)) as worker:
        yield worker, mark


@NEWEST
def test_no_close_of_ours_ever_meets_a_client(bench: Bench) -> None:
    """All operations, adoption, retention and recoveries, as the kernel saw them."""
    with bench.worker() as raw:
        raw.do("raw_put", numbers=list(range(40)))  # purged as it goes: there is much to adopt
        raw.do("raw_close")
    with watched(bench) as (worker, mark), bench.worker() as peer:
        worker.do("everything")
        peer.do("put", numbers=[60])
        worker.do("look")
        assert worker.do("state")["retained"]
        assert worker.do("closed")
        traffic = Traffic(worker.worker.recorded(), mark)
    assert traffic.met == []
    assert (traffic.open_ours, traffic.open_chromadbs) == (0, 0)
    assert traffic.ours >= 8, "adoption and recoveries were not seen"
    assert traffic.chromadbs >= 4, "clients were not seen"


def traffic_of(lines: list[str], file: Path, mark: Path) -> tuple[list[str], dict[str, int]]:
    """Follow each descriptor of the file through strace's lines: who opened it, whom it met."""
    marked: set[str] = set()
    opened: dict[str, str] = {}  # descriptor: whose
    counted = {"ours": 0, "chromadb's": 0}
    met = []
    for line in lines:
        thread = line.split(maxsplit=1)[0]
        if got := re.search(
            rf"open(?:at)?\(?.*= (\d+)<({re.escape(str(file))}|{re.escape(str(mark))})>", line
        ):
            if got[2] == str(mark):
                marked.add(thread)
                continue
            whose = "ours" if thread in marked else "chromadb's"
            marked.discard(thread)
            counted[whose] += 1
            opened[got[1]] = whose
            met += [line] if len(set(opened.values())) > 1 else []
        elif got := re.search(rf" close\((\d+)<{re.escape(str(file))}>", line):
            del opened[got[1]]
    assert opened == {}
    return met, counted


@contextmanager
def tracing(command: list[str]) -> Iterator[None]:
    """Run strace around a block; it is told to end, and made to if it does not."""
    strace = subprocess.Popen(command)
    try:
        yield
    finally:
        strace.terminate()
        try:
            strace.wait(20)
        except subprocess.TimeoutExpired:
            strace.kill()
            strace.wait(20)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@NEWEST
def test_strace_sees_the_same(bench: Bench) -> None:
    file, mark, out = database(bench), bench.directory / "mark", bench.directory / "strace"
    with bench.worker() as raw:
        raw.do("raw_put", numbers=list(range(40)))
        raw.do("raw_close")
    with told(bench, mark=str(mark)) as worker:
        command = ["strace", "-f", "-qq", "-y", "-e", "trace=open,openat,close", "-o", str(out)]
        with tracing([*command, "-p", str(worker.worker.pid)]):
            until = time.monotonic() + 30
            while "TracerPid:\t0" in Path(f"/proc/{worker.worker.pid}/status").read_text():
                assert time.monotonic() < until, "strace did not attach"
                time.sleep(0.01)
            worker.do("everything")
            assert worker.do("closed")
    met, counted = traffic_of(out.read_text(errors="replace").splitlines(), file, mark)
    assert met == []
    assert counted["ours"] >= 8
    assert counted["chromadb's"] >= 4


@pytest.mark.parametrize("guarded", [True, False])
@NEWEST
def test_beside_a_client_of_somebody_else_nothing_is_opened(bench: Bench, guarded: bool) -> None:
    with watched(bench) as (worker, mark):
        worker.do("put", numbers=[1])
        assert worker.do("closed")
        worker.do("raw_put", numbers=[2])
        worker.do("note_change")  # has to be mended with Python's SQLite
        worker.do("hurried" if guarded else "unguarded")
        try:
            worker.do("look")
            refused = ""
        except (ToldError, WorkerGoneError) as error:
            refused = str(error)
        traffic = Traffic(worker.worker.recorded(), mark)
    assert bool(traffic.met) != guarded
    assert ("another chromadb client" in refused) == guarded
