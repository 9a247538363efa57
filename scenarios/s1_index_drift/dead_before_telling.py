"""A writer dies between its change and telling its peers: they list a drawer no search finds."""

from palace_lab.plan import Plan
from palace_lab.plan.steps import Crash, Do, write
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s1",
    reports=("mempalace#1000",),
    plan=Plan(
        steps=(
            write("reader", 20),
            write("writer", 5, first=20),
            Do("reader", "found", {"wanted": [[20, 0]]}),
            Crash("writer", "rename", "*/state.json*", at=1.0),
            write("writer", 5, first=30, batch=5),
            Do("reader", "listed"),
            Do("reader", "found", {"wanted": [[number, 0] for number in range(30, 35)]}),
        ),
    ),
    off=Fixes.all().without("flush_mark"),
    accepts={"*": "stale-read"},
    nightly=True,
)
