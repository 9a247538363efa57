"""The report's own stress, four processes with 20 triples each, meets no lock error."""

from palace_lab.plan.graph import stress
from palace_lab.scenario import SQLITE, Scenario, Wrong
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s2",
    reports=("mempalace#948",),
    plan=lambda size: stress(size.processes or 4, size.triples or 20),
    wrong=Wrong("SQLite does not wait for a peer", Fixes.none(), {"wrong": "timeout-0"}),
    accepts={SQLITE: "locked"},
    releases=(SQLITE,),
)
