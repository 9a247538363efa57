"""Two living writers taking strict turns ruin the index while every call says success."""

from palace_lab.plan import Plan
from palace_lab.plan.steps import Alternate
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s1",
    reports=("mempalace#823", "mempalace#1000"),
    plan=Plan(steps=(Alternate(("left", "right"), rounds=20, batch=5),)),
    off=Fixes.none(),
    accepts={"*": "index-ruined"},
)
