"""A healthy palace whose database is hours newer than its index is left alone."""

from palace_lab.plan import Plan
from palace_lab.plan.steps import Backdate, Close, write
from palace_lab.scenario import Scenario, Wrong
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s1",
    reports=("mempalace#1000",),
    plan=Plan(
        steps=(
            write("writer", 120),
            Close("writer"),
            Backdate("*/data_level0.bin", seconds=2 * 3600),
        ),
    ),
    wrong=Wrong(
        "the published rename, which goes by the age of a file", Fixes.reported("quarantine")
    ),
    accepts={"*": "silent-vector-loss"},
)
