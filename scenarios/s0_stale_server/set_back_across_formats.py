"""A server of 1.5.7 is set back to 0.6.3, which cannot read the palace, and goes on beside it."""

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
            Process("server", target="mcp", may_refuse=True, options={"told_stale": "error"}),
            Process("set-back", release="0.6.3", may_refuse=True),
        ),
        steps=(
            write("server", 12, batch=1),
            Upgrade("server", chromadb="0.6.3"),
            write("set-back", 12, first=12),
            write("server", 12, first=24, batch=1),
            Close("set-back"),
            Close("server"),
        ),
    ),
    off=Fixes.none(),
    as_reported=Fixes.reported("stale-server"),
    accepts={"*": "stale-ack"},
    releases=("1.5.7",),
    nightly=True,
)
