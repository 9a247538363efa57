"""A server whose own library was upgraded says that it has written, by code that is gone."""

from palace_lab.plan.servers import OTHER, replaced
from palace_lab.plan.steps import Upgrade
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s0",
    reports=("mempalace#899",),
    plan=replaced(Upgrade("server", library=OTHER)),
    off=Fixes.all().without("stale_check", "refuse_writes"),
    as_reported=Fixes.reported("stale-server"),
    accepts={"*": "stale-ack"},
    releases=("1.5.9",),
)
