"""A server that has just written does not find what a peer wrote before, however long it waits."""

from palace_lab.plan import Plan
from palace_lab.plan.model import Shape
from palace_lab.plan.steps import Close, Do, Elapse, write
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s2",
    reports=("mempalace#948",),
    plan=Plan(
        shape=Shape(sync_threshold=1000, batch_size=100),
        steps=(
            write("server", 20),
            Do("server", "found", {"wanted": [[0, 0]]}),
            write("peer", 20, first=20),
            write("server", 20, first=40),
            Elapse(6.0),  # the published fix looks every 5 s
            Do("server", "found", {"wanted": [[number, 0] for number in range(60)]}),
            Close("peer"),
        ),
    ),
    off=Fixes.none(),
    as_reported=Fixes.reported("client-cache"),
    accepts={"*": "stale-read"},
    releases=("0.6.3",),  # from 1.0 on an own write reads the whole log
    nightly=True,
)
