"""Deaths, peers, strangers and upgrades befall a palace by lot, and nothing is lost."""

from palace_lab.plan.drawn import Drawn, by_lot
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s1",
    reports=("mempalace#823", "mempalace#1000"),
    plan=Drawn(by_lot),
    off=Fixes.none(),
    accepts={"*": ("index-ruined", "stale-read", "files-disagree", "silent-row-loss")},
    probability=0.3,
    nightly=True,
    in_ci=False,  # one plan by lot shows nothing
)
