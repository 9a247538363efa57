"""How long a process of a trial may take for one answer before it is called stuck.

The measure is a healthy palace of the same size in the same run. Machines become slow for a while,
and a process that gets no processor is not stuck: so the deadline begins anew with every call that
the process records, and before a verdict the healthy palace is measured once more, beside the
process that is silent, and that decides. Who is alone in a palace and does nothing at all, not even
look again, waits for nothing that could come, and is not waited for. The healthy palace itself is
not held to any of this: a slow machine may take minutes to read a large one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from palace_lab.checks.evidence import Baseline
from palace_lab.errors import DeadlineError
from palace_lab.processes.stillness import Stillness
from palace_lab.processes.supervise import Worker, wait_any

#: What is waited for one answer at most where a healthy palace takes less than a third of it, and
#: all there is where nothing healthy can be measured.
DEADLINE_S = 60.0
#: On a slow machine nobody is stuck before having taken this many times what a healthy palace took.
HEALTHY_TIMES = 3.0
#: The most that one step may take, however busy its process is.
STEP_S_MAX = 600.0
#: A process is stuck if it takes this many times what a healthy palace took, and a grace.
STUCK_TIMES = 20.0
STUCK_GRACE_S = 8.0
#: A process that is alone is stuck if none of its threads has run for so long.
STILL_S = 4.0
_FIRST_LOOK_S = 1.0
_LOOK_EVERY_S = 0.5


class Deadline:
    """The deadline of one trial; `again` measures the healthy palace anew.

    With `seconds` it is as long as that, whatever a healthy palace takes.
    """

    def __init__(
        self,
        baseline: Baseline | None = None,
        again: Callable[[], Baseline | None] | None = None,
        *,
        seconds: float | None = None,
    ) -> None:
        self.seconds = seconds_for(baseline) if seconds is None else seconds
        self._again = again

    @classmethod
    def of_healthy(cls) -> Deadline:
        """Return the deadline of a palace that is healthy, which others are measured by."""
        return cls(seconds=STEP_S_MAX)

    def receive_alone(self, worker: Worker) -> dict[str, Any]:
        """Return the next message of a worker that nobody keeps waiting, itself apart."""
        began_s = time.monotonic()
        wait_s = _FIRST_LOOK_S  # most have answered by then
        stillness = Stillness(worker.pid, gap_s_max=2 * _LOOK_EVERY_S)
        while not wait_any([worker], wait_s):
            if stillness.look() >= STILL_S:
                # Raises, and says where it stands.
                return worker.receive(0.0, waited_s=time.monotonic() - began_s)
            if time.monotonic() - began_s >= self.seconds:
                break
            wait_s = _LOOK_EVERY_S
        return self.receive(worker, began_s=began_s)

    def receive(
        self,
        worker: Worker,
        latest_s: Callable[[], float] = lambda: 0.0,
        *,
        began_s: float | None = None,
    ) -> dict[str, Any]:
        """Return a worker's next message; raises `DeadlineError` if it is stuck.

        `latest_s` says when, on the monotonic clock, it last recorded something: who still gets on
        with its work, call by call, is slow and not stuck. `began_s` is when the wait began, if
        that was before now.
        """
        began = time.monotonic() if began_s is None else began_s
        again = self._again
        wait_s = max(0.0, began + self.seconds - time.monotonic())
        while True:
            try:
                return worker.receive(wait_s, waited_s=time.monotonic() - began)
            except DeadlineError:
                silent_since_s = max(began, latest_s())
                if again is not None and time.monotonic() - silent_since_s >= self.seconds:
                    self.seconds = max(self.seconds, seconds_for(again()))
                    again = None
                now_s = time.monotonic()
                wait_s = silent_since_s + self.seconds - now_s
                if wait_s <= 0 or now_s - began >= STEP_S_MAX:
                    raise


def seconds_for(baseline: Baseline | None) -> float:
    """Return how long a process may take for one step, by what a healthy palace took."""
    if baseline is None:
        return DEADLINE_S
    slowest_s = max(baseline.seconds.values())
    usual_s = min(DEADLINE_S, STUCK_GRACE_S + STUCK_TIMES * slowest_s)
    return min(STEP_S_MAX, max(usual_s, HEALTHY_TIMES * slowest_s))
