"""One of three clients of a server over HTTP is cut off in mid-call, comes back and goes on."""

from palace_lab.plan.clients import client_cut
from palace_lab.scenario import Scenario, Wrong
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s2",
    reports=("mempalace#948",),
    plan=client_cut(transport="http", serves="kitchen"),
    wrong=Wrong(
        "each client starts a server of its own, by stdio", Fixes.none(), {"transport": "stdio"}
    ),
    as_reported=Fixes.none(),
    accepts={"*": "index-ruined"},
    probability=0.9,
    nightly=True,
    in_ci=False,  # what its wrong variant shows, the off arm of s2/three-proxies shows too
)
