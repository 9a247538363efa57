"""A 0.6.3 that never ends poisons the palace again and again, each time after it was healed."""

from palace_lab.plan import Plan
from palace_lab.plan.model import Process
from palace_lab.plan.steps import Close, write
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s0",
    reports=("mempalace#899",),
    plan=Plan(
        processes=(
            Process("before", release="0.6.3"),
            Process("stale", target="chroma", release="0.6.3"),
        ),
        steps=(
            write("before", 40, first=0),
            Close("before"),
            write("stale", 40, first=40),
            write("upgraded", 40, first=80),
            Close("upgraded"),
            write("stale", 40, first=120),
            write("healed", 40, first=160),
            Close("healed"),
            write("stale", 40, first=200),
            write("healed-again", 40, first=240),
            Close("healed-again"),
            write("stale", 40, first=280),
        ),
    ),
    off=Fixes.all().without("watermark_heal"),
    accepts={"*": "watermark-blob"},
    releases=("1.0.21", "1.5.9"),
    nightly=True,
)
