"""A server of 0.6.3 lives on after its environment was upgraded; the next process dies of it."""

from palace_lab.plan.servers import upgraded
from palace_lab.plan.steps import Upgrade
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s0",
    reports=("mempalace#899",),
    plan=upgraded(Upgrade("server", by="uv")),
    off=Fixes.none(),
    as_reported=Fixes.reported("stale-server"),
    accepts={"*": "watermark-blob"},
    releases=("1.5.7",),
    nightly=True,
)
