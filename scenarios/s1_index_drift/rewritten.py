"""The same drawers are written again and again: what has been replaced must not fill the disk."""

from palace_lab.plan import Plan
from palace_lab.plan.model import Shape
from palace_lab.plan.steps import write
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s1",
    reports=("mempalace#823",),
    plan=Plan(
        shape=Shape(dimension=2048, sync_threshold=1000, batch_size=100),
        steps=tuple(
            write("writer", 20, batch=20, how="upsert", revision=each) for each in range(420)
        ),
    ),
    off=Fixes.all().without("trim"),
    accepts={"*": "bloated"},
    releases=("1.0.21", "1.5.9"),
    nightly=True,
)
