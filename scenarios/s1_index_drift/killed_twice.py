"""A second writer is killed while it mends what the first one left, and nothing is lost."""

from palace_lab.plan import Plan
from palace_lab.plan.steps import Crash, write
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s1",
    reports=("mempalace#823", "mempalace#1000"),
    plan=Plan(
        steps=(
            Crash("first", "write", "*/index_metadata.pickle", at=0.5),
            write("first", 120),
            Crash("second", "write", "*/data_level0.bin", k=20),
            write("second", 40, first=200),
        ),
    ),
    off=Fixes.none(),
    accepts={"*": "index-ruined"},
)
