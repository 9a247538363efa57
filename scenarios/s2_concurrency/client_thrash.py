"""A server alone in its palace opens its client anew for each of its own writes."""

from palace_lab.plan import Plan
from palace_lab.plan.steps import Do, write
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s2",
    reports=("mempalace#948",),
    plan=Plan(
        steps=(
            write("server", 10, batch=1),
            Do("server", "measure_reloads", {"most": 0}),
        ),
    ),
    off=Fixes.reported("client-cache-before"),
    as_reported=Fixes.reported("client-cache"),
    accepts={"*": "client-thrash"},
)
