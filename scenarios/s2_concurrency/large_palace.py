"""Three clients, each behind an mcp-proxy, share a palace of 28,000 drawers in 15 wings."""

from palace_lab.plan.clients import large_palace
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s2",
    reports=("mempalace#948",),
    plan=large_palace(transport="proxy"),
    off=Fixes.none(),
    as_reported=Fixes.reported("kg", "client-cache"),
    accepts={"*": ("index-ruined", "stale-read", "locked")},
    probability=0.9,
    nightly=True,
    in_ci=False,
    minutes=3,
)
