"""Kill -9 at every call of a write, a checkpoint and a first opening: nothing acknowledged is lost.

Each loop kills at k = 1, 2, … until no call is left to kill at. A fresh process that does not use
our library then finds every acknowledged fact, of the call that was cut off all facts or none, and
a sound file; and our library, opened after that, writes on. What goes through shared memory (the
index of the log) makes no call and is not a point; SQLite makes it anew after every death.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from palace_lab.processes.supervise import (
    CrashPoint,
    Host,
    Worker,
    WorkerGoneError,
    tracing_available,
)
from palace_store.fixes import Fixes
from palace_store.triples import TripleStore

pytestmark = [
    pytest.mark.s2,
    pytest.mark.skipif(tracing_available() is not None, reason=str(tracing_available())),
]

FAMILIES = ("write", "truncate", "fsync", "unlink", "open")
FILES = "knowledge.sqlite3*"
ANSWER_S = 60.0
#: No loop has more calls in one family; one that does not end is a finding.
K_MAX = 2000
ARMS = {"off": Fixes.none(), "reported": Fixes.reported("kg"), "all": Fixes.all()}
#: One arm in a pull request, all of them at night.
SOME = ["all", *(pytest.param(arm, marks=pytest.mark.nightly) for arm in ("off", "reported"))]


@dataclass
class Bench:
    host: Host
    directory: Path
    fixes: Fixes
    wrong: str | None = None

    @property
    def palace(self) -> Path:
        return self.directory / "palace"

    def launch(self, name: str, points: Sequence[CrashPoint] = ()) -> Worker:
        """Start a worker with the lab's own target for the knowledge graph."""
        history = self.directory / "history" / f"{name}.hist"
        history.unlink(missing_ok=True)
        history.parent.mkdir(exist_ok=True)
        config = {
            "palace": str(self.palace),
            "process": name,
            "history": str(history),
            "seed": 1,
            "fixes": self.fixes.words(),
            "time_scale": 1.0,
            "options": {} if self.wrong is None else {"wrong": self.wrong},
            "target": "triples",
        }
        return self.host.launch(
            name, entry="palace_lab.targets.worker:main", config=config, points=points
        )


@dataclass
class Deed:
    """Operations in one process, the facts that each adds, and what was there before."""

    steps: Sequence[tuple[str, dict[str, Any], set[str]]]
    before: set[str] = field(default_factory=set)


def facts(first: int, count: int = 1) -> set[str]:
    return {f"w-s{n}" for n in range(first, first + count)}


def found(palace: Path) -> set[str]:
    """Return the subjects of all facts, read without our library from a file that is sound."""
    path = palace / "knowledge.sqlite3"
    if not path.exists():
        return set()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'triples'").fetchone():
            return set()
        rows = [row[0] for row in db.execute("SELECT subject FROM triples")]
    assert len(rows) == len(set(rows))
    return set(rows)


def do_until_killed(bench: Bench, deed: Deed, point: CrashPoint) -> tuple[set[str], set[str], bool]:
    """Return the facts that were acknowledged, those of the call cut off, and whether one was."""
    sure = set(deed.before)
    with bench.launch("w", [point]) as worker:
        for op, args, adds in deed.steps:
            try:
                worker.send({"do": op, "args": args})
                answer = worker.receive(ANSWER_S)
            except WorkerGoneError:
                return sure, adds, True
            assert answer["done"] == "ok", answer
            sure |= adds
    return sure, set(), False


def loop(bench: Bench, deed: Deed, stride: int = 1) -> dict[str, int]:
    """Kill at every call there is, or every stride-th; returns how many each family has."""
    base = bench.directory / "base"
    if bench.palace.exists():
        shutil.copytree(bench.palace, base)
    counted = {}
    for family in FAMILIES:
        for k in range(1, K_MAX, stride):
            shutil.rmtree(bench.palace, ignore_errors=True)
            if base.exists():
                shutil.copytree(base, bench.palace)
            point = CrashPoint(family, f"{bench.palace}/{FILES}", k)
            sure, maybe, died = do_until_killed(bench, deed, point)
            where = f"killed at {family} {k}"
            there = found(bench.palace)
            assert there in (sure, sure | maybe), where
            with TripleStore(bench.palace, fixes=bench.fixes) as store:
                store.add("after", "p", "o")
            assert found(bench.palace) == there | {"after"}, where
            if not died:
                break
            counted[family] = k
        else:
            raise AssertionError(f"{family}: no end after {K_MAX} kills")
    return counted


def bench_of(host: Host, directory: Path, arm: str) -> Bench:
    return Bench(host, directory, ARMS[arm])


def leave_a_log(bench: Bench, count: int) -> set[str]:
    """Leave a graph with so many facts, all of them still in the log of a killed process."""
    with bench.launch("w") as worker:
        for op, args in (("open", {}), ("add_triples", {"first": 0, "count": count})):
            worker.send({"do": op, "args": args})
            assert worker.receive(ANSWER_S)["done"] == "ok"
        worker.kill()
        worker.wait_exit(ANSWER_S)
    assert (bench.palace / "knowledge.sqlite3-wal").stat().st_size > 0
    return facts(0, count)


@pytest.mark.parametrize("arm", SOME)
def test_the_first_opener_killed_anywhere(host: Host, tmp_path: Path, arm: str) -> None:
    bench = bench_of(host, tmp_path, arm)
    steps = [("open", {}, set[str]()), ("add", {"n": 0}, facts(0)), ("close", {}, set[str]())]
    counted = loop(bench, Deed(steps))
    assert counted["write"] > 10
    assert counted["open"] >= 2


@pytest.mark.parametrize("arm", SOME)
def test_a_writer_killed_anywhere_from_recovery_to_close(
    host: Host, tmp_path: Path, arm: str
) -> None:
    """It recovers what a killed process left, adds one fact, then three together, and closes."""
    bench = bench_of(host, tmp_path, arm)
    before = leave_a_log(bench, 5)
    steps = [
        ("open", {}, set[str]()),
        ("add", {"n": 5}, facts(5)),
        ("add_together", {"first": 6, "count": 3}, facts(6, 3)),
        ("close", {}, set[str]()),
    ]
    counted = loop(bench, Deed(steps, before))
    assert counted["write"] > 20
    assert counted["fsync"] >= 3
    assert counted["unlink"] >= 1  # of the log, by the last to leave


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    ("arm", "stride"),
    [("all", 50), *(pytest.param(arm, 1, marks=pytest.mark.nightly) for arm in ARMS)],
)
def test_a_writer_killed_anywhere_in_a_checkpoint(
    host: Host, tmp_path: Path, arm: str, stride: int
) -> None:
    """Its second commit makes the log longer than 200 pages, so that it is folded (not `off`)."""
    bench = bench_of(host, tmp_path, arm)
    big = {"count": 16, "source_bytes": 60_000}
    steps = [
        ("open", {}, set[str]()),
        ("add", {"n": 0}, facts(0)),
        ("add_together", {"first": 1, **big}, facts(1, 16)),
        ("add", {"n": 17}, facts(17)),
        ("close", {}, set[str]()),
    ]
    assert loop(bench, Deed(steps), stride)["write"] > 400


def test_an_early_acknowledgement_is_found_out(host: Host, tmp_path: Path) -> None:
    """The loop can fail: here a fact is acknowledged and never written."""
    bench = Bench(host, tmp_path, Fixes.all(), wrong="ack-first")
    steps = [("open", {}, set[str]()), ("add_triples", {"first": 0, "count": 1}, facts(0))]
    with pytest.raises(AssertionError, match="killed at"):
        loop(bench, Deed(steps))
