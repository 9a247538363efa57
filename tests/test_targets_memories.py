"""The worker's side of the scenarios of memories, driven as a plan would drive it (S4)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from palace_lab.history.segment import Recorder, read_segment
from palace_lab.plan.memories import LATER, at_one_desk, restart, with_remote
from palace_lab.plan.model import OWN
from palace_lab.plan.steps import Do
from palace_lab.targets.agent import NotThereError
from palace_lab.targets.agent import target as agent
from palace_lab.targets.base import Context
from palace_lab.targets.memories import MemoriesTarget
from palace_lab.targets.memories import target as made
from palace_lab.targets.memory_files import number_of, read_machine, words_of
from palace_lab.targets.old_memories import make_old
from palace_lab.targets.remote import RemoteTarget, WaitedForRemoteError
from palace_lab.targets.remote import target as remote
from palace_store.fixes import Fixes
from palace_store.sqlite_lock import PalaceLockedError

pytestmark = pytest.mark.s4

NUMBERS = itertools.count()


def context(
    palace: Path,
    process: str,
    fixes: Fixes = Fixes.all(),  # noqa: B008  (a value that cannot change)
    pause: Callable[[str], None] = lambda _where: None,
    **options: str,
) -> Context:
    return Context(
        palace=palace,
        process=process,
        recorder=Recorder(palace.parent / f"{process}-{next(NUMBERS)}", process),
        pause=pause,
        seed=1,
        fixes=tuple(fixes.words()),
        time_scale=0.02,
        options=options,
    )


def told(palace: Path, process: str) -> list[tuple[str, str, int]]:
    """Return phase, operation and number of what the history of a process has about memories."""
    events = (event for path in palace.parent.glob(f"{process}-*") for event in read_segment(path))
    return [(e.phase, e.op, e.first) for e in events if e.op in ("memory", "forget")]


@pytest.fixture
def palace(tmp_path: Path) -> Path:
    return tmp_path / "palace"


def test_what_is_told_is_recorded_and_read_back(palace: Path) -> None:
    desk = made(context(palace, "desk"))
    desk.open()
    desk.remember(first=1, count=2)
    assert desk.forget(first=1, count=5) == {"forgotten": 2}
    desk.remember_at_once(first=10, count=2, threads=3)
    assert "cut_off" in desk.cut_off(n=99)
    desk.close()
    (machine,) = desk.read_all()["machines"].values()
    assert machine["memories"] == list(range(10, 16))
    assert told(palace, "desk")[:4] == [
        ("invoke", "memory", 1), ("ok", "memory", 1), ("invoke", "memory", 2), ("ok", "memory", 2),
    ]  # fmt: skip
    assert told(palace, "desk")[-2:] == [("invoke", "memory", 99), ("fail", "memory", 99)]
    assert sum(op == "forget" for _, op, _ in told(palace, "desk")) == 4


def test_processes_of_a_machine_share_a_file_and_a_holder_is_met(palace: Path) -> None:
    one = made(context(palace, "one", machine="desk"))
    fixes = Fixes.all().without("local_retry")
    other = made(context(palace, "other", fixes, machine="desk"))
    for each in (one, other):
        each.open()
    one.hold()
    with pytest.raises(PalaceLockedError):
        other.remember(first=1)
    one.release()
    other.remember(first=1)
    one.pin()
    other.remember(first=2)
    for each in (one, other):
        each.close()
    assert read_machine(other.path)["memories"] == [1, 2]


def test_the_wrong_variant_acknowledges_what_it_does_not_store(palace: Path) -> None:
    wrong = made(context(palace, "w", wrong="ack-first"))
    wrong.open()
    wrong.remember(first=9, count=3)
    wrong.close()
    assert read_machine(wrong.path)["memories"] == [9, 11]
    with pytest.raises(ValueError, match="there is no wrong variant 'x'"):
        made(context(palace, "x", wrong="x"))


def test_an_old_file_is_made_once_and_pauses_where_it_is_told_to(palace: Path) -> None:
    where: list[str] = []
    desk: MemoriesTarget = made(context(palace, "desk", pause=where.append))
    desk.make_old(version=1, first=0, count=3)
    assert read_machine(desk.path)["version"] == 1
    with pytest.raises(ValueError, match="is there already"):
        desk.make_old(version=1, first=0, count=3)
    with pytest.raises(ValueError, match="no old schema version 7"):
        make_old(palace / "x", 7, [])
    desk.open(pause_at=2)
    desk.close()
    assert where == ["migrating"]
    assert read_machine(desk.path) | {"memories": [0, 1, 2], "version": 3} == read_machine(
        desk.path
    )
    assert number_of("anything") == -1


def test_an_agent_finds_the_remote_and_tells_what_it_does(palace: Path) -> None:
    server: RemoteTarget = remote(context(palace, "remote"))
    server.open()
    machine = agent(context(palace, "m"))
    try:
        server.put(first=5)
        machine.open()
        machine.remember(first=1)
        assert machine.sync() == {"pulled": 1, "pushed": 1, "problems": []}
        machine.know(first=5)
        with pytest.raises(NotThereError, match="not here yet"):
            machine.know(first=6)
        assert machine.recall(n=5)["complete"]
        with pytest.raises(WaitedForRemoteError):
            server.expect_holding()
        server.answer(first=2, status=422)
        machine.remember(first=2)
        assert machine.push(rounds=5)["problems"]
        assert [each["content"] for each in machine.status()["parked"]] == [words_of(2)]
        assert machine.retry_parked() == {"retried": 1}
        server.take_key(key="new")
        assert machine.pull()["problems"]
        machine.correct_key(key="new")
        server.heal()
        assert machine.sync()["problems"] == []
    finally:
        machine.close()
        server.close()
    read = server_files(machine)
    assert read["remote"]["memories"] == [1, 2, 5]
    assert read["remote"]["refused"] == [2]


def server_files(machine: MemoriesTarget) -> dict[str, dict[str, list[int]]]:
    read: dict[str, dict[str, list[int]]] = machine.read_all()
    return read


def test_plans_name_machines_and_the_remote() -> None:
    plan = at_one_desk(Do("a", "remember", {"first": 1}), Do("b", "remember", {"first": 2}))
    assert {plan.process(name).options["machine"] for name in ("a", "b")} == {"desk"}
    plan = with_remote(Do("a", "sync"), *restart("a"))
    assert plan.process("remote").release == OWN
    assert plan.process(f"a{LATER}").options == plan.process("a").options == {"machine": "a"}
    assert plan.changed(release="1.5.9").releases() == {"1.5.9"}
