"""On a disk that takes 0.7 s to sync, the report's own stress outlasts a timeout of 10 s."""

from palace_lab.plan.graph import stress
from palace_lab.scenario import SQLITE, Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s2",
    reports=("mempalace#948",),
    plan=stress(4, 20, sync_s=0.7, time_scale=0.1),
    off=Fixes.none(),
    as_reported=Fixes.reported("kg"),
    accepts={SQLITE: "locked"},
    releases=(SQLITE,),
    nightly=True,
)
