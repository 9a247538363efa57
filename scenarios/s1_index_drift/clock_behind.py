"""While a clock is behind, no age of a file shows that an index is torn, however old the damage."""

from palace_lab.plan import Plan
from palace_lab.plan.steps import Backdate, Crash, write
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s1",
    reports=("mempalace#1000",),
    plan=Plan(
        steps=(
            Crash("writer", "write", "*/index_metadata.pickle", at=0.5),
            write("writer", 300),
            Backdate("*/data_level0.bin", seconds=2 * 3600),
            Backdate("chroma.sqlite3", seconds=5 * 365 * 24 * 3600),
        ),
    ),
    off=Fixes.none(),
    as_reported=Fixes.reported("quarantine"),
    accepts={"*": "index-unreadable"},
    nightly=True,
)
