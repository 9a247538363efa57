"""Vectors are replaced by the hundred: whatever else is in the collection must stay findable."""

from palace_lab.plan import Plan
from palace_lab.plan.model import Shape
from palace_lab.plan.steps import AnyStep, Do, write
from palace_lab.scenario import Scenario, Size
from palace_store.fixes import Fixes

_DRAWERS = 200
_AT_ONCE = 100
_ROUNDS = 150


def plan(_: Size) -> Plan:
    """Return the plan: after each replacement every drawer is looked up by the vector it has."""
    revisions = [0] * _DRAWERS
    steps: list[AnyStep] = [write("writer", _DRAWERS, batch=_DRAWERS)]
    for revision in range(1, _ROUNDS + 1):
        first = 37 * revision % (_DRAWERS - _AT_ONCE + 1)
        revisions[first : first + _AT_ONCE] = [revision] * _AT_ONCE
        steps += [
            write("writer", _AT_ONCE, first=first, batch=_AT_ONCE, how="upsert", revision=revision),
            Do("writer", "found", {"wanted": [list(row) for row in enumerate(revisions)]}),
        ]
    return Plan(shape=Shape(dimension=4, sync_threshold=20_000, batch_size=100), steps=tuple(steps))


scenario = Scenario(
    system="s1",
    reports=("mempalace#823",),
    plan=plan,
    off=Fixes.all().without("relink"),
    accepts={"*": "stale-read"},
    probability=0.9,
    releases=("1.0.21", "1.5.9"),
    nightly=True,
    in_ci=False,  # a race of long trials, and one of them shows little
)
