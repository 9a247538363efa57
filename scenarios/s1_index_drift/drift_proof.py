"""Two raw writers ruin the index of a palace whose log was kept, and our library rebuilds it."""

from palace_lab.plan import Plan
from palace_lab.plan.model import Process, Shape
from palace_lab.plan.steps import Alternate, Close, write
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

KEPT = tuple(Fixes.all().words())

scenario = Scenario(
    system="s1",
    reports=("mempalace#823", "mempalace#1000"),
    plan=Plan(
        shape=Shape(dimension=384),
        processes=(
            Process("founder", fixes=KEPT),
            Process("left", target="chroma"),
            Process("right", target="chroma"),
        ),
        steps=(
            write("founder", 5, first=200),
            Close("founder"),
            Alternate(("left", "right"), rounds=20, batch=5),
        ),
    ),
    off=Fixes.none(),
    as_reported=Fixes.reported("quarantine-review"),
    accepts={"*": "index-ruined"},
    nightly=True,
)
