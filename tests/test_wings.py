"""Drawers of a plan lie in the wings that an option asks for, whoever writes them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from palace_lab.environments import ensure
from palace_lab.plan import Plan, steps
from palace_lab.plan.clients import large_palace
from palace_lab.plan.model import Process, Shape
from palace_lab.runner.arena import Arena
from palace_lab.runner.trial import run_trial

RELEASE = "1.5.9"
WINGS = "SELECT string_value, count(*) FROM embedding_metadata WHERE key = 'wing' GROUP BY 1"


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    with Arena([ensure(RELEASE)], scratch_root=None) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize(
    "target", ["chroma", "palace", pytest.param("mcp", marks=pytest.mark.nightly)]
)
@pytest.mark.parametrize("wings", [pytest.param(0, marks=pytest.mark.nightly), 3])
def test_drawers_lie_in_as_many_wings_as_asked_for(
    arena: Arena, target: str, wings: int, tmp_path: Path
) -> None:
    plan = Plan(
        release=RELEASE,
        shape=Shape(embedded=True),
        processes=(Process("writer", target=target, options={"wings": wings} if wings else {}),),
        steps=(steps.write("writer", 8, batch=2), steps.Close("writer")),
        observers=(),
    )
    trial = run_trial(arena, plan, keep=tmp_path)
    assert not trial.lab_error
    assert trial.violations == []
    with closing(sqlite3.connect(tmp_path / "palace" / "chroma.sqlite3")) as database:
        found = dict(database.execute(WINGS))
    assert found == ({"wing-0": 3, "wing-1": 3, "wing-2": 2} if wings else {})


def test_the_large_palace_is_as_large_as_the_report_has_it() -> None:
    plan = large_palace()
    importer, *clients = plan.processes
    (imported,) = (step for step in plan.steps if isinstance(step, steps.Do) and step.op == "write")
    assert imported.process == importer.name
    assert imported.args["count"] == 28_000
    assert {each.options["wings"] for each in plan.processes} == {15}
    work, searches = (step for step in plan.steps if isinstance(step, steps.Together))
    assert [(call.process, call.op) for call in work.calls] == [
        (each.name, "work") for each in clients
    ]
    assert [call.op for call in searches.calls] == ["found"] * 3
