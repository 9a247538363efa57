"""A writer killed while it rewrites the vectors themselves ruins the index."""

from palace_lab.plan import Plan
from palace_lab.plan.model import Shape
from palace_lab.plan.steps import Crash, write
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s1",
    reports=("mempalace#823", "mempalace#1000"),
    plan=Plan(
        shape=Shape(sync_threshold=100, batch_size=50),
        steps=(
            Crash("writer", "write", "*/data_level0.bin", at=0.65),
            write("writer", 250),
        ),
    ),
    off=Fixes.none(),
    as_reported=Fixes.reported("quarantine"),
    accepts={"*": "index-ruined"},
)
