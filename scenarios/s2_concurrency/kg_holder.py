"""A peer that holds the knowledge graph for 20 s outlasts a timeout of 10 s, not one of 60 s."""

from palace_lab.plan.graph import held
from palace_lab.scenario import SQLITE, Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s2",
    reports=("mempalace#948",),
    plan=held(20.0, time_scale=0.05),
    off=Fixes.none(),
    as_reported=Fixes.reported("kg"),
    accepts={SQLITE: "locked"},
    releases=(SQLITE,),
)
