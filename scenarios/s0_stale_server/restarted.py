"""A server that may restart itself takes its client along to the upgraded library."""

from palace_lab.plan import Plan
from palace_lab.plan.model import Process
from palace_lab.plan.servers import SHAPE
from palace_lab.plan.steps import Close, Upgrade, write
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s0",
    reports=("mempalace#899",),
    plan=Plan(
        shape=SHAPE,
        processes=(
            Process("server", target="mcp", release="0.6.3", options={"arguments": ["--restart"]}),
            Process(
                "legacy",
                target="mcp",
                release="0.6.3",
                options={"arguments": ["--restart"], "mode": "legacy"},
            ),
        ),
        steps=(
            write("server", 12, batch=1),
            write("legacy", 12, first=12, batch=1),
            Upgrade("legacy"),
            Upgrade("server"),
            write("upgraded", 12, first=24),
            write("legacy", 12, first=36, batch=1),
            write("server", 12, first=48, batch=1),
            Close("server"),
            Close("legacy"),
            Close("upgraded"),
        ),
    ),
    off=Fixes.all().without("self_restart"),
    accepts={"*": "refused-stale-server"},
    releases=("1.5.7",),
    nightly=True,
)
