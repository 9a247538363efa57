"""The worker's side of the knowledge-graph scenarios, driven as a plan would drive it."""

from __future__ import annotations

import json
import multiprocessing
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from palace_lab.history.segment import Recorder, read_segment
from palace_lab.targets.base import Context
from palace_lab.targets.triples import WRONG, TriplesTarget
from palace_lab.targets.triples import target as made
from palace_store.fixes import Fixes
from palace_store.triples import PalaceLockedError

OFF: list[str] = []
ALL = Fixes.all().words()
FORK = multiprocessing.get_context("fork")
NUMBERS = count()


def target(
    palace: Path,
    fixes: list[str],
    *,
    process: str = "w",
    pause: Callable[[str], None] = lambda _where: None,
    time_scale: float = 1.0,
    wrong: str | None = None,
) -> TriplesTarget:
    return made(
        Context(
            palace=palace,
            process=process,
            recorder=Recorder(palace.parent / f"{process}-{next(NUMBERS)}", process),
            pause=pause,
            seed=1,
            fixes=tuple(fixes),
            time_scale=time_scale,
            options={} if wrong is None else {"wrong": wrong},
        )
    )


@pytest.fixture
def palace(tmp_path: Path) -> Path:
    return tmp_path / "palace"


def told(palace: Path, process: str = "w") -> list[tuple[str, int]]:
    """Return phase and number of the triples in the history of a process."""
    events = (event for path in palace.parent.glob(f"{process}-*") for event in read_segment(path))
    return [(event.phase, event.first) for event in events if event.op == "triple"]


@pytest.mark.parametrize("fixes", [OFF, ["kg_retry"], ALL], ids=["off", "retry", "all"])
def test_a_deferred_transaction_meets_a_committed_peer(palace: Path, fixes: list[str]) -> None:
    other = target(palace, fixes, process="peer")
    intruded: list[dict[str, Any]] = []

    def pause(where: str) -> None:
        assert where == "between-read-and-write"
        intruded.append(other.intrude(n=0))

    writer = target(palace, fixes, pause=pause)
    writer.open()
    writer.add(n=0)
    if fixes == OFF:
        with pytest.raises(PalaceLockedError):
            writer.end(n=0, pauses=1)
    else:
        assert writer.end(n=0, pauses=1) == {"ended": 1, "paused": 1}
    assert [one["committed"] for one in intruded] == [fixes != ALL]
    assert told(palace, "peer") == [("invoke", 0), ("fail" if fixes == ALL else "ok", 0)]
    writer.close()
    mine, peers = ["w-s0", "p", "o0"], ["peer-s0", "p", "o0"]
    assert writer.read_all() == {
        "triples": [mine] if fixes == ALL else [mine, peers],
        "ended": [] if fixes == OFF else [mine],
        "integrity": "ok",
        "wal_bytes": None,
    }


def test_the_holder_is_met_before_it_lets_go(palace: Path) -> None:
    holder = target(palace, OFF, process="holder")
    assert holder.read_all()["integrity"] == "missing"
    assert holder.hold() == {"journal_mode": "delete"}
    assert holder.read_all()["triples"] == []
    with pytest.raises(PalaceLockedError):
        target(palace, OFF).open(pause_when_locked=True)

    waits: list[tuple[str, dict[str, Any]]] = []
    opener = target(palace, ALL, pause=lambda where: waits.append((where, holder.release())))
    assert opener.open(pause_when_locked=True)["locks_met"] == 1
    assert waits == [("locked", {"held": True})]
    assert holder.release() == {"held": False}
    assert holder.hold() == {"journal_mode": "wal"}
    holder.close()
    assert opener.add(n=1)["id"] == 1
    opener.close()
    assert opener.read_all()["wal_bytes"] is None


def test_the_unfixed_writer_gives_up_while_the_holder_holds(palace: Path) -> None:
    writer = target(palace, OFF, time_scale=0.01)
    holder = target(palace, OFF, process="holder")
    writer.open()
    holder.hold()
    with pytest.raises(PalaceLockedError):
        writer.add(n=0)
    assert holder.release() == {"held": True}
    assert told(palace) == [("invoke", 0), ("fail", 0)]
    writer.close()


def test_the_fixed_writer_waits_for_the_holder(palace: Path) -> None:
    writer = target(palace, ALL, time_scale=0.01)
    holder = target(palace, OFF, process="holder", time_scale=0.01)
    writer.open()
    holder.hold()
    outcome: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: outcome.append(writer.add(n=0)))
    thread.start()
    holder.release(after_s=30)  # of the 120 s that the writer waits
    thread.join(10)
    assert outcome[0]["id"] == 1
    writer.close()


def crowd(palace: Path, fixes: list[str], wrong: str | None) -> int:
    """Let four processes add twenty triples each at the same time; return the lock errors."""
    turn, barrier, answers = FORK.Lock(), FORK.Barrier(4), FORK.SimpleQueue()

    def work(name: str) -> None:
        mine = target(palace, fixes, process=name, wrong=wrong)
        with turn:  # as in the scenario: a wrong variant that never waits must get this far
            mine.open()
        barrier.wait(30)
        answers.put(json.dumps(mine.add_triples(first=0, count=20)))
        mine.close()

    maker = target(palace, ALL)
    maker.open()
    maker.close()
    children = [FORK.Process(target=work, args=(f"w{n}",)) for n in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(30)
    assert [child.exitcode for child in children] == [0] * 4
    return sum(json.loads(answers.get())["lock_errors"] for _ in children)


@pytest.mark.parametrize(
    ("fixes", "wrong"), [(OFF, None), (ALL, None), (OFF, "timeout-0"), (ALL, "ack-first")]
)
def test_the_guard_of_four_times_twenty(palace: Path, fixes: list[str], wrong: str | None) -> None:
    locked = crowd(palace, fixes, wrong)
    acknowledged = {
        (f"w{name}-s{n}", "p", f"o{n}")
        for name in range(4)
        for phase, n in told(palace, f"w{name}")
        if phase == "ok"
    }
    found = [tuple(row) for row in target(palace, OFF).read_all()["triples"]]
    assert len(set(found)) == len(found)
    assert len(acknowledged) == 80 - locked
    assert (locked > 0) is (wrong == "timeout-0")
    # What a guard has to see: eight triples were acknowledged and are not there.
    assert len(acknowledged - set(found)) == (8 if wrong == "ack-first" else 0)


def test_what_a_plan_may_get_wrong(palace: Path) -> None:
    with pytest.raises(ValueError, match="no wrong variant 'nope'; there are: timeout-0"):
        target(palace, ALL, wrong="nope")
    assert set(WRONG) == {"timeout-0", "one-by-one", "ack-first"}
    calls: list[Callable[[TriplesTarget], object]] = [
        lambda one: one.add(n=0),
        lambda one: one.end(n=0),
        lambda one: one.install_shutdown_handler(),
    ]
    palace.mkdir()
    for call in calls:
        with pytest.raises(RuntimeError, match="must open it"):
            call(target(palace, ALL))
    target(palace, ALL).close()


def test_a_triple_is_ended_on_a_day_and_asked_about_by_day(palace: Path) -> None:
    writer = target(palace, ALL)
    writer.open()
    for n in (1, 2):
        writer.add(n=n)
    assert writer.end(n=1, day=5) == {"ended": 1, "paused": 0}
    assert writer.held(numbers=[1, 2, 3], day=4) == {"asked": [1, 2, 3], "day": 4, "held": [1, 2]}
    assert writer.held(numbers=[1, 2, 3], day=5)["held"] == [2]
    rows = writer.read_all()
    assert [row[2] for row in rows["ended"]] == ["o1"]
    ends = [
        (event.phase, event.first, event.count, event.revision)
        for path in palace.parent.glob("w-*")
        for event in read_segment(path)
        if event.op == "end"
    ]
    assert ends == [("invoke", 1, 1, 5), ("ok", 1, 1, 5)]
    writer.close()
