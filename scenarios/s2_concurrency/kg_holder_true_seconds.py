"""The same holder in true seconds: 20 s against a timeout of 10 s and one of 60 s."""

from palace_lab.plan.graph import held
from palace_lab.scenario import SQLITE, Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s2",
    reports=("mempalace#948",),
    plan=held(20.0),
    off=Fixes.none(),
    as_reported=Fixes.reported("kg"),
    accepts={SQLITE: "locked"},
    releases=(SQLITE,),
    nightly=True,
)
