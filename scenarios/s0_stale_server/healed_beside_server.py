"""A server without any fix outlives an upgrade and poisons the palace each time it was healed."""

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
            Process("before", release="0.6.3"),
            Process("server", target="mcp", release="0.6.3", fixes=()),
        ),
        steps=(
            write("before", 20),
            Close("before"),
            write("server", 20, first=20, batch=1),
            Upgrade("server"),
            write("upgraded", 20, first=40),
            Close("upgraded"),
            write("server", 20, first=60, batch=1),
            write("healed", 20, first=80),
            Close("healed"),
            write("server", 20, first=100, batch=1),
            write("healed-again", 20, first=120),
            Close("healed-again"),
            Close("server"),
        ),
    ),
    off=Fixes.all().without("watermark_heal"),
    accepts={"*": "watermark-blob"},
    releases=("1.5.7",),
    nightly=True,
)
