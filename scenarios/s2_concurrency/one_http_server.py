"""Three clients share one server over HTTP: with the fixes or without, nothing is lost."""

from palace_lab.plan.clients import three_clients
from palace_lab.scenario import Scenario, Wrong
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s2",
    reports=("mempalace#948",),
    plan=three_clients(transport="http", serves="kitchen"),
    wrong=Wrong(
        "each client starts a server of its own, by stdio", Fixes.none(), {"transport": "stdio"}
    ),
    as_reported=Fixes.none(),
    accepts={"*": ("index-ruined", "stale-read", "locked")},
    probability=0.9,
    nightly=True,
    in_ci=False,  # what its wrong variant shows, the off arm of s2/three-proxies shows too
)
