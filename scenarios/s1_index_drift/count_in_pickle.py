"""A count finds a torn index at once, as review asked for, and the rename loses its vectors."""

from palace_lab.plan import Plan
from palace_lab.plan.steps import Crash, write
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s1",
    reports=("mempalace#1000",),
    plan=Plan(
        steps=(
            Crash("writer", "write", "*/index_metadata.pickle", at=0.5),
            write("writer", 300),
        ),
    ),
    off=Fixes.none(),
    as_reported=Fixes.reported("quarantine-review"),
    accepts={"*": "index-unreadable"},
    nightly=True,
)
