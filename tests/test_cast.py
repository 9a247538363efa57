"""The processes of a trial: one that dies behind the lab's back is dead, and no trouble."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from palace_lab.plan import Plan, steps
from palace_lab.processes.exits import Exit, WorkerGoneError
from palace_lab.processes.points import CrashPoint
from palace_lab.processes.supervise import Worker
from palace_lab.runner.arena import Arena
from palace_lab.runner.cast import Cast
from palace_lab.runner.deadline import Deadline

ENDED = Exit(None, signal.SIGKILL, by_lab=True)


class Gone:
    """A worker that died after its last answer, at a crash point in a thread of chromadb's."""

    def send(self, _: Mapping[str, Any]) -> None:
        raise WorkerGoneError("writer", ENDED)

    def arm(self, _: Sequence[CrashPoint]) -> None:
        raise WorkerGoneError("writer", ENDED)

    def wait_exit(self, _: float) -> Exit:
        return ENDED

    def close(self) -> None:
        pass


def with_a_dead_writer(directory: Path) -> Cast:
    made = Cast(
        cast("Arena", None),
        Plan(steps=()),
        directory,
        deadline=Deadline(),
    )
    made.workers["writer"] = cast("Worker", Gone())
    return made


def test_a_process_found_dead_when_it_is_told_something_is_buried(tmp_path: Path) -> None:
    made = with_a_dead_writer(tmp_path)
    made.tell("writer", "write", {})
    made.answer("writer")
    assert made.outcome.exits == {"writer": ENDED}
    assert made.pending == {}
    made.close()


def test_a_process_found_dead_when_it_is_to_end_is_buried(tmp_path: Path) -> None:
    made = with_a_dead_writer(tmp_path)
    made.end("writer")
    assert made.outcome.exits == {"writer": ENDED}
    assert made.pending == {}
    made.close()


def test_a_dead_process_cannot_be_armed_however_often(tmp_path: Path) -> None:
    made = with_a_dead_writer(tmp_path)
    point = CrashPoint("write", "*", 1)
    assert [made.arm("writer", point) for _ in range(2)] == [False, False]
    assert made.outcome.exits == {"writer": ENDED}
    made.close()


def test_only_files_in_the_palace_are_set_back(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    made = with_a_dead_writer(tmp_path)
    palace = tmp_path / "palace"
    (palace / "shelf").mkdir()
    (palace / "linked").symlink_to(outside)
    victims = [outside / "a.bin", tmp_path / "b.bin"]
    (palace / "c.bin").symlink_to(victims[1])
    own = palace / "shelf" / "d.bin"
    for path in (*victims, own):
        path.write_text("content")
        os.utime(path, (1000, 1000))
    for pattern in ("*/*.bin", "*.bin", "../*.bin"):
        made.backdate(steps.Backdate(pattern, 60))
    made.close()
    assert [path.stat().st_mtime for path in victims] == [1000, 1000]
    assert own.stat().st_mtime == 940
    assert made.outcome.goals == {
        "backdated */*.bin": True,
        "backdated *.bin": False,
        "backdated ../*.bin": False,
    }
