"""The reported pair: a writer of 0.6.3 is killed in a flush, and 1.5.7 takes over its palace."""

from palace_lab.plan.hops import hops
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="hops",
    reports=("mempalace#899",),
    plan=hops("0.6.3"),
    off=Fixes.none(),
    accepts={"*": "index-unreadable"},
    releases=("1.5.7",),
    nightly=True,
)
