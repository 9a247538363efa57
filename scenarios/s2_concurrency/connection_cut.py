"""One of three clients of a server over HTTP loses its connection in mid-reply, and goes on."""

from palace_lab.plan.clients import connection_cut
from palace_lab.scenario import Scenario, Wrong
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s2",
    reports=("mempalace#948",),
    plan=connection_cut(transport="http", serves="kitchen"),
    wrong=Wrong(
        "the client takes a call that was cut off for one that was not done",
        options={"wrong": "not-done"},
    ),
    as_reported=Fixes.reported("kg", "client-cache"),
    accepts={"*": "phantom"},
    nightly=True,
)
