"""A server that may restart itself goes on as the one that `pip install -U` put in its place."""

from palace_lab.plan.servers import restarted
from palace_lab.plan.steps import Upgrade
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s0",
    reports=("mempalace#899",),
    plan=restarted(Upgrade("server", by="pip")),
    off=Fixes.all().without("self_restart"),
    accepts={"*": "refused-stale-server"},
    releases=("1.5.7",),
    nightly=True,
)
