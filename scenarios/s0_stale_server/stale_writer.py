"""A living 0.6.3 goes on writing to a palace that 1.x has opened; the next process dies of it."""

from palace_lab.plan import Plan
from palace_lab.plan.model import Process
from palace_lab.plan.steps import Close, write
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s0",
    reports=("mempalace#899",),
    plan=Plan(
        processes=(Process("stale", release="0.6.3", may_refuse=True),),
        steps=(
            write("stale", 40, first=0),
            write("upgraded", 40, first=40),
            write("stale", 40, first=80),
            Close("stale"),
            Close("upgraded"),
        ),
    ),
    off=Fixes.none(),
    accepts={"*": "watermark-blob"},
    releases=("1.0.21", "1.5.9"),
)
