"""A living reader lists what a peer has just written, and its searches do not find it."""

from palace_lab.plan import Plan
from palace_lab.plan.model import Shape
from palace_lab.plan.steps import Close, Do, write
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s1",
    reports=("mempalace#948", "mempalace#1000"),
    plan=Plan(
        shape=Shape(sync_threshold=1000, batch_size=100),
        steps=(
            write("reader", 20),
            Do("reader", "found", {"wanted": [[0, 0]]}),
            write("peer", 20, first=20),
            Do("reader", "found", {"wanted": [[number, 0] for number in range(40)]}),
            Close("peer"),
        ),
    ),
    off=Fixes.all().without("generation"),
    as_reported=Fixes.reported("client-cache"),
    accepts={"*": "stale-read"},
    nightly=True,
)
