"""A healthy palace of 0.6 that deleted, added and deleted a drawer in one batch is left alone."""

from palace_lab.plan import Plan
from palace_lab.plan.model import Shape
from palace_lab.plan.steps import Do, write
from palace_lab.scenario import Scenario, Wrong
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s1",
    reports=("mempalace#1000",),
    plan=Plan(
        shape=Shape(sync_threshold=50, batch_size=50),
        steps=(
            write("writer", 60),
            Do("writer", "delete", {"first": 5, "count": 1}),
            write("writer", 1, first=5),
            Do("writer", "delete", {"first": 5, "count": 1}),
            write("writer", 60, first=100),
        ),
    ),
    wrong=Wrong("the count that review asked for", Fixes.reported("quarantine-review")),
    accepts={"0.6.3": "silent-vector-loss"},
    releases=("0.6.3",),
    nightly=True,
)
