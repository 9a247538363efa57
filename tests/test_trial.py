"""What a trial says of itself: were the faults of its plan reached?"""

from __future__ import annotations

import pytest

from palace_lab.plan import Plan, steps
from palace_lab.runner.outcome import Outcome, killed_at
from palace_lab.runner.trial import Trial

CRASH = steps.Crash("w", "write", "*/index", k=3)
DATA, DATABASE = steps.Backdate("*/data", 60), steps.Backdate("database", 60)
KILLED, OLD_DATA, OLD_DATABASE = killed_at(CRASH), "backdated */data", "backdated database"


@pytest.mark.parametrize(
    ("goals", "off", "fixed"),
    [
        ({}, True, True),
        ({KILLED: True, OLD_DATA: True}, True, True),
        ({KILLED: True, OLD_DATA: False}, True, False),
        ({KILLED: False, OLD_DATA: True}, False, False),
        ({KILLED: False, OLD_DATA: True, "w held": True}, True, False),
        ({OLD_DATA: True}, True, True),
        ({OLD_DATA: True, OLD_DATABASE: True}, True, True),
        ({OLD_DATA: False, OLD_DATABASE: True}, False, False),
    ],
)
def test_times_set_back_are_no_fault_that_the_library_met(
    goals: dict[str, bool], *, off: bool, fixed: bool
) -> None:
    plan = Plan(steps=(CRASH, DATA, DATABASE))
    for arm, expected in (("off", off), ("wrong", off), ("as-reported", off), ("fixed", fixed)):
        assert Trial(plan.changed(arm=arm), Outcome(goals=goals)).reached == expected
