"""Trials of races lie evenly among the others, and nothing is done twice."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from palace_lab.runner.campaign import _spread


def row(name: str, probability: float | None, wanted: int, done: int) -> Any:
    listed = SimpleNamespace(scenario=SimpleNamespace(probability=probability))
    cell = SimpleNamespace(name=name, wanted=wanted, records=dict.fromkeys(range(done)))
    return SimpleNamespace(listed=listed, cells=[cell])


def places(rows: list[Any]) -> list[tuple[str, int]]:
    return [(cell.name, index) for cell, index in _spread(rows)]


def test_a_race_is_spread_over_the_run() -> None:
    rows = [row("plain", None, 6, 0), row("race", 0.9, 2, 0)]
    names = [name for name, _ in places(rows)]
    assert names == ["plain", "plain", "race", "plain", "plain", "plain", "race", "plain"]


def test_the_arms_of_a_row_take_turns() -> None:
    one = row("off", None, 3, 1)
    one.cells += row("fixed", None, 2, 0).cells
    assert places([one]) == [("fixed", 0), ("off", 1), ("fixed", 1), ("off", 2)]


@given(
    st.lists(
        st.tuples(st.sampled_from([None, 0.5]), st.integers(0, 20), st.integers(0, 20)),
        max_size=6,
    )
)
def test_every_trial_still_to_be_done_is_there_once_and_in_its_order(
    cells: list[tuple[float | None, int, int]],
) -> None:
    rows = [
        row(f"cell{number}", probability, max(wanted, done), done)
        for number, (probability, wanted, done) in enumerate(cells)
    ]
    found = places(rows)
    expected = [
        (each.cells[0].name, index)
        for each in rows
        for index in range(each.cells[0].wanted)
        if index not in each.cells[0].records
    ]
    assert sorted(found) == sorted(expected)
    for each in rows:
        own = [index for name, index in found if name == each.cells[0].name]
        assert own == sorted(own)
