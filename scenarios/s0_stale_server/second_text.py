"""A server of 0.6.3 that has not read the index yet cannot read the one that 1.x has written."""

from palace_lab.plan import Plan
from palace_lab.plan.model import Process
from palace_lab.plan.servers import SHAPE
from palace_lab.plan.steps import Close, Do, Upgrade, write
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s0",
    reports=("mempalace#899",),
    plan=Plan(
        shape=SHAPE,
        processes=(
            Process("before", release="0.6.3"),
            Process("server", target="mcp", release="0.6.3", may_refuse=True),
        ),
        steps=(
            write("before", 20),
            Close("before"),
            Do("server", "tell", {"n": 1}),
            Upgrade("server"),
            write("upgraded", 20, first=20),
            Close("upgraded"),
            Do("server", "search", {"query": "drawer 1 revision 0"}),
            Close("server"),
        ),
    ),
    off=Fixes.none(),
    as_reported=Fixes.reported("stale-server"),
    accepts={"*": "pickle-of-another-era"},
    releases=("1.5.7",),
    nightly=True,
)
