"""What one raw process misses, another one is asked for before the first has written anything."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from palace_lab.checks.expected import Expectation
from palace_lab.environments import ensure
from palace_lab.plan import Plan, steps
from palace_lab.plan.model import Process, Shape
from palace_lab.runner.arena import Arena
from palace_lab.runner.deadline import Deadline
from palace_lab.runner.observe import observe
from palace_lab.runner.trial import run_trial

sys.path.append(str(Path(__file__).parent / "entries"))
from harm import index_of, unlink

pytestmark = pytest.mark.slow

DRAWERS = 48


@pytest.fixture(scope="module", params=["0.6.3", "1.0.21"])
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def arena(release: str) -> Iterator[Arena]:
    with Arena([ensure(release)], scratch_root=None) as found:
        yield found


def written(arena: Arena, release: str, place: Path) -> Plan:
    """Let raw chromadb write a palace all of whose vectors are in its index files."""
    plan = Plan(
        release=release,
        target="chroma",
        shape=Shape(sync_threshold=DRAWERS, batch_size=DRAWERS),
        processes=(Process("writer"),),
        steps=(steps.write("writer", DRAWERS), steps.Close("writer")),
        observers=(),
    )
    trial = run_trial(arena, plan, keep=place)
    assert not trial.lab_error
    assert trial.violations == []
    return plan


def expected() -> Expectation:
    return Expectation(dict.fromkeys(range(DRAWERS), (0,)), {}, frozenset())


def test_another_process_is_asked_before_the_first_one_writes(
    arena: Arena, release: str, tmp_path: Path
) -> None:
    plan = written(arena, release, tmp_path)
    (gone,) = unlink(index_of(tmp_path / "palace").path, 1)
    seen = observe(arena, plan, tmp_path, "chroma", expected(), deadline=Deadline())
    assert [look.phase for look in seen.looks] == ["ok"] * 7
    for stage in ("found", "found-again"):
        assert seen.value(stage)["missing"] == [int(gone.removeprefix("d"))]
    assert seen.when("found") < seen.when("opened-again") < seen.when("found-again")
    begun_s = {look.stage: look.ended_ns / 1e9 - look.seconds for look in seen.looks}
    assert seen.when("found-again") / 1e9 < begun_s["write"]
    assert seen.value("found-again")["looked_up"] == 1


def test_nobody_else_is_asked_where_all_is_found(
    arena: Arena, release: str, tmp_path: Path
) -> None:
    plan = written(arena, release, tmp_path)
    seen = observe(arena, plan, tmp_path, "chroma", expected(), deadline=Deadline())
    assert [look.stage for look in seen.looks] == [
        "opened",
        "listed",
        "found",
        "write",
        "found-new",
    ]
