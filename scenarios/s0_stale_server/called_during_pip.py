"""A server is called again and again while `pip install -U` replaces its library and chromadb."""

from palace_lab.plan.servers import OTHER, called_during
from palace_lab.plan.steps import Upgrade
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s0",
    reports=("mempalace#899",),
    plan=called_during(Upgrade("server", library=OTHER, by="pip")),
    off=Fixes.all().without("stale_check", "refuse_writes"),
    as_reported=Fixes.reported("stale-server"),
    accepts={"*": "stale-ack"},
    releases=("1.5.7",),
    nightly=True,
)
