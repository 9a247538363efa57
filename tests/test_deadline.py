"""A process is called stuck beside a healthy palace that is measured at the same moment."""

from __future__ import annotations

from typing import Any, cast

import pytest

from palace_lab.checks.evidence import Baseline
from palace_lab.errors import DeadlineError
from palace_lab.processes.supervise import Worker
from palace_lab.runner import deadline as deadline_module
from palace_lab.runner.deadline import Deadline, seconds_for


class Slow:
    """A worker that answers after so many seconds, by a clock that only its waits move on."""

    def __init__(self, answers_after_s: float) -> None:
        self.left_s = answers_after_s
        self.now_s = 0.0
        self.waits: list[float] = []

    def receive(self, timeout_s: float, *, waited_s: float) -> dict[str, Any]:
        assert 0 <= waited_s <= self.now_s
        self.waits.append(timeout_s)
        self.now_s += min(timeout_s, self.left_s)
        self.left_s -= timeout_s
        if self.left_s > 0:
            raise DeadlineError("its stack")
        return {"done": "ok"}


def healthy(seconds: float) -> Baseline:
    return Baseline({"palace": seconds / 2, "chroma": seconds}, 0)


def receive(
    monkeypatch: pytest.MonkeyPatch, worker: Slow, before_s: float, now_s: float
) -> tuple[Deadline, dict[str, Any]]:
    monkeypatch.setattr(deadline_module.time, "monotonic", lambda: worker.now_s)
    deadline = Deadline(healthy(before_s), lambda: healthy(now_s))
    return deadline, deadline.receive(cast("Worker", worker))


def test_who_answers_in_time_is_not_measured_against_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = Slow(9.0)
    deadline, message = receive(monkeypatch, worker, before_s=0.1, now_s=1e9)
    assert (message, worker.waits, deadline.seconds) == ({"done": "ok"}, [10.0], 10.0)


def test_a_machine_that_has_become_slow_is_no_stuck_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = Slow(25.0)
    deadline, message = receive(monkeypatch, worker, before_s=0.1, now_s=1.0)
    assert message == {"done": "ok"}
    assert worker.waits == pytest.approx([10.0, 18.0])
    assert deadline.seconds == 28.0  # the next step has as long


@pytest.mark.parametrize(("now_s", "waited_s"), [(0.1, 10.0), (0.05, 10.0), (0.5, 18.0)])
def test_who_does_not_answer_while_a_healthy_palace_does_is_stuck(
    monkeypatch: pytest.MonkeyPatch, now_s: float, waited_s: float
) -> None:
    worker = Slow(1e6)
    with pytest.raises(DeadlineError, match="its stack"):
        receive(monkeypatch, worker, before_s=0.1, now_s=now_s)
    assert worker.now_s == pytest.approx(waited_s)


def test_who_records_call_after_call_is_slow_and_not_stuck(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = Slow(35.0)
    monkeypatch.setattr(deadline_module.time, "monotonic", lambda: worker.now_s)
    deadline = Deadline(healthy(0.1), lambda: pytest.fail("nobody was silent"))
    message = deadline.receive(cast("Worker", worker), lambda: worker.now_s - 1.0)
    assert message == {"done": "ok"}
    assert worker.waits == pytest.approx([10.0, 9.0, 9.0, 9.0])


def test_who_stops_recording_is_stuck_a_deadline_later(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Slow(1e6)
    monkeypatch.setattr(deadline_module.time, "monotonic", lambda: worker.now_s)
    deadline = Deadline(healthy(0.1), lambda: healthy(0.1))
    with pytest.raises(DeadlineError):
        deadline.receive(cast("Worker", worker), lambda: min(worker.now_s, 12.5))
    assert worker.now_s == pytest.approx(22.5)


def test_a_step_without_end_is_stuck_however_much_it_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = Slow(1e6)
    monkeypatch.setattr(deadline_module.time, "monotonic", lambda: worker.now_s)
    with pytest.raises(DeadlineError):
        Deadline(healthy(0.1)).receive(cast("Worker", worker), lambda: worker.now_s)
    assert worker.now_s == pytest.approx(600.0)


def test_nothing_silent_is_waited_for_longer_than_the_longest_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = Slow(1e6)
    with pytest.raises(DeadlineError):
        receive(monkeypatch, worker, before_s=0.1, now_s=19.0)
    assert worker.now_s == pytest.approx(60.0)


@pytest.mark.parametrize(("healthy_s", "waited_s"), [(100.0, 300.0), (1e6, 600.0)])
def test_nobody_is_stuck_who_takes_twice_as_long_as_a_healthy_palace_does(
    monkeypatch: pytest.MonkeyPatch, healthy_s: float, waited_s: float
) -> None:
    """A small machine may read a large palace for longer than the longest deadline."""
    worker = Slow(2 * min(healthy_s, 250.0))
    deadline, message = receive(monkeypatch, worker, before_s=0.1, now_s=healthy_s)
    assert (message, deadline.seconds) == ({"done": "ok"}, waited_s)
    worker = Slow(1e6)
    with pytest.raises(DeadlineError):
        receive(monkeypatch, worker, before_s=0.1, now_s=healthy_s)
    assert worker.now_s == pytest.approx(waited_s)
    assert Deadline.of_healthy().seconds == 600.0


def test_without_anything_healthy_to_measure_there_is_one_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = Slow(1e6)
    monkeypatch.setattr(deadline_module.time, "monotonic", lambda: worker.now_s)
    with pytest.raises(DeadlineError):
        Deadline().receive(cast("Worker", worker))
    assert (worker.waits, seconds_for(None)) == ([60.0], 60.0)


# Who is alone ------------------------------------------------------------------------------------


class Alone(Slow):
    """A slow worker that nobody keeps waiting; `still_from_s` is when its threads stop running."""

    pid = 0

    def __init__(self, answers_after_s: float, still_from_s: float = 1e9) -> None:
        super().__init__(answers_after_s)
        self.still_from_s = still_from_s


def receive_alone(monkeypatch: pytest.MonkeyPatch, worker: Alone) -> dict[str, Any]:
    def wait(_: object, timeout_s: float) -> list[Alone]:
        worker.now_s += min(timeout_s, worker.left_s)
        worker.left_s -= timeout_s
        return [worker] if worker.left_s <= 0 else []

    class Looks:
        def __init__(self, _: int, *, gap_s_max: float) -> None:
            assert gap_s_max < deadline_module.STILL_S

        def look(self) -> float:
            return max(0.0, worker.now_s - worker.still_from_s)

    monkeypatch.setattr(deadline_module.time, "monotonic", lambda: worker.now_s)
    monkeypatch.setattr(deadline_module, "wait_any", wait)
    monkeypatch.setattr(deadline_module, "Stillness", Looks)
    deadline = Deadline(healthy(0.1), lambda: healthy(0.1))
    return deadline.receive_alone(cast("Worker", worker))


@pytest.mark.parametrize("after_s", [0.2, 3.0, 9.5])
def test_who_is_alone_and_answers_in_time_is_not_stuck(
    monkeypatch: pytest.MonkeyPatch, after_s: float
) -> None:
    assert receive_alone(monkeypatch, Alone(after_s)) == {"done": "ok"}


def test_who_is_alone_and_does_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Alone(1e9, still_from_s=1.5)
    with pytest.raises(DeadlineError, match="its stack"):
        receive_alone(monkeypatch, worker)
    assert worker.waits == [0.0]
    assert worker.now_s == pytest.approx(5.5)


def test_who_is_alone_and_busy_has_as_long_as_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Alone(1e9)
    with pytest.raises(DeadlineError, match="its stack"):
        receive_alone(monkeypatch, worker)
    assert worker.now_s == pytest.approx(10.0)
