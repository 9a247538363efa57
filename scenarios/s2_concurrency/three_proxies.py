"""Three clients, each behind an mcp-proxy with its own stdio server, share one palace."""

from palace_lab.plan.clients import three_clients
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s2",
    reports=("mempalace#948",),
    plan=three_clients(transport="proxy"),
    off=Fixes.none(),
    as_reported=Fixes.reported("kg", "client-cache"),
    accepts={"*": ("index-ruined", "stale-read", "locked")},
    probability=0.9,
    nightly=True,
)
