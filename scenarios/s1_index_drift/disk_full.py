"""A flush that fails on a full disk is acknowledged; the next process does not find its vectors."""

from palace_lab.plan import Plan
from palace_lab.plan.steps import Close, Fail, write
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s1",
    reports=("mempalace#823", "mempalace#1000"),
    plan=Plan(
        steps=(
            write("first", 120),
            Close("first"),
            Fail("second", "write", "*/data_level0.bin"),
            write("second", 120, how="upsert", revision=1),
            Close("second"),
        ),
    ),
    off=Fixes.all().without("read_back"),
    accepts={"*": "index-ruined"},
    nightly=True,
)
