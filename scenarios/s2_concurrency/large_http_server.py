"""Three clients in a palace of 28,000 drawers share one server over HTTP, and nothing is lost."""

from palace_lab.plan.clients import large_palace
from palace_lab.scenario import Scenario, Wrong
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s2",
    reports=("mempalace#948",),
    plan=large_palace(transport="http", serves="kitchen"),
    wrong=Wrong(
        "each client starts a server of its own, by stdio", Fixes.none(), {"transport": "stdio"}
    ),
    as_reported=Fixes.reported("kg", "client-cache"),
    accepts={"*": ("index-ruined", "stale-read", "locked")},
    probability=0.9,
    nightly=True,
    in_ci=False,
    minutes=3,
)
