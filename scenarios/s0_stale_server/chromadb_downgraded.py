"""A server of 1.5.9 whose chromadb was set back to 1.5.7 goes on with the newer one."""

from palace_lab.plan.servers import replaced
from palace_lab.plan.steps import Upgrade
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s0",
    reports=("mempalace#899",),
    plan=replaced(Upgrade("server", chromadb="1.5.7")),
    off=Fixes.all().without("stale_check", "refuse_writes"),
    as_reported=Fixes.reported("stale-server"),
    accepts={"*": "stale-ack"},
    releases=("1.5.9",),
    nightly=True,
)
