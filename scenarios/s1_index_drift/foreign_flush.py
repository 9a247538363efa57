"""A program that knows nothing of this library flushes; ours, alive all along, writes over it."""

from palace_lab.plan import Plan
from palace_lab.plan.model import Process
from palace_lab.plan.steps import Close, Do, write
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s1",
    reports=("mempalace#823", "mempalace#1000"),
    plan=Plan(
        processes=(Process("foreign", target="chroma"),),
        steps=(
            write("ours", 40),
            write("foreign", 40, first=100),
            Close("foreign"),
            write("ours", 40, first=200),
            Do("ours", "found", {"wanted": [[number, 0] for number in range(100, 140)]}),
        ),
    ),
    off=Fixes.all().without("foreign_check"),
    accepts={"*": "stale-read"},
    nightly=True,
)
