"""A healthy palace whose index was written before the clock was set right is left alone."""

from palace_lab.plan import Plan
from palace_lab.plan.steps import Backdate, Close, write
from palace_lab.scenario import Scenario, Wrong
from palace_store.fixes import Fixes

YEAR_S = 365 * 24 * 3600

scenario = Scenario(
    system="s1",
    reports=("mempalace#1000",),
    plan=Plan(
        steps=(
            write("writer", 120),
            Close("writer"),
            Backdate("chroma.sqlite3", seconds=5 * YEAR_S),
            Backdate("*/data_level0.bin", seconds=5 * YEAR_S),
            write("later", 3, first=200),
            Close("later"),
        ),
    ),
    wrong=Wrong("the published rename, minutes after the write", Fixes.reported("quarantine")),
    accepts={"*": "silent-vector-loss"},
    nightly=True,
)
