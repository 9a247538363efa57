"""Three clients, each behind an mcp-proxy with its own stdio server, share one palace."""

from palace_lab.plan.servers import three_clients
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s2",
    reports=("mempalace#948",),
    plan=three_clients(transport="proxy"),
    off=Fixes.none(),
    accepts={"*": "index-ruined"},
    probability=0.9,
    nightly=True,
)
