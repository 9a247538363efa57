"""A palace goes through four releases, and at each the writer is killed in a flush."""

from palace_lab.plan.hops import hops
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="hops",
    reports=("mempalace#823", "mempalace#899"),
    plan=hops("0.5.23", "0.6.3", "1.0.21"),
    off=Fixes.none(),
    accepts={"*": "index-unreadable"},
    releases=("1.5.9",),
    nightly=True,
)
