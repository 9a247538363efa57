"""What a healthy palace of a plan's size is: as many drawers as there are, not as were written."""

from __future__ import annotations

import pytest

from palace_lab.plan import Plan
from palace_lab.plan.steps import Alternate, AnyStep, Do, Together, write
from palace_lab.runner.baseline import drawers_of


@pytest.mark.parametrize(
    ("steps", "drawers"),
    [
        ([write("a", 30), write("b", 30, first=100)], 60),
        ([write("a", 20, how="upsert", revision=number) for number in range(50)], 20),
        ([write("a", 20), write("b", 20, first=10)], 30),
        ([Together((write("a", 5), write("b", 5, first=5)))], 10),
        ([Alternate(("a", "b"), rounds=4, batch=3), write("a", 7, first=1000)], 31),
        ([Do("a", "work", {"drawers": 9})], 9),
        ([Do("a", "delete", {"first": 0, "count": 9})], 0),
    ],
)
def test_a_drawer_that_is_written_again_counts_once(steps: list[AnyStep], drawers: int) -> None:
    assert drawers_of(Plan(steps=tuple(steps))) == drawers
