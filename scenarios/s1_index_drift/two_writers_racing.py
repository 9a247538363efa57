"""Two writers racing at chromadb's own defaults lose vectors nobody was told about."""

from palace_lab.plan import Plan
from palace_lab.plan.model import Shape
from palace_lab.plan.steps import Close, Together, write
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s1",
    reports=("mempalace#823", "mempalace#1000"),
    plan=Plan(
        shape=Shape(sync_threshold=1000, batch_size=100),
        steps=(
            write("founder", 10, first=4000),
            Close("founder"),
            Together((write("left", 2000), write("right", 2000, first=2000))),
        ),
    ),
    off=Fixes.none(),
    accepts={"*": "index-ruined"},
    probability=0.9,
    nightly=True,
    in_ci=False,  # a race of long trials, and one of them shows little
)
