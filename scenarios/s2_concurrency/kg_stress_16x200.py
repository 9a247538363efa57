"""Sixteen processes with 200 triples each meet no lock error and lose none."""

from palace_lab.plan.graph import stress
from palace_lab.scenario import SQLITE, Scenario, Wrong
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s2",
    reports=("mempalace#948",),
    plan=lambda size: stress(size.processes or 16, size.triples or 200),
    wrong=Wrong("SQLite does not wait for a peer", Fixes.none(), {"wrong": "timeout-0"}),
    accepts={SQLITE: "locked"},
    releases=(SQLITE,),
    nightly=True,
)
