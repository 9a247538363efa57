"""Sixteen processes of all five systems work on one palace for minutes, and nothing is lost."""

from palace_lab.plan.everything import everything
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s2",
    reports=("mempalace#948",),
    plan=lambda size: everything(size.processes or 16, size.drawers or 3000),
    off=Fixes.none(),
    accepts={"*": ("index-ruined", "locked")},
    probability=0.9,
    nightly=True,
    in_ci=False,
    minutes=12,
)
