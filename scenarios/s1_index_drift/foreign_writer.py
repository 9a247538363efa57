"""A program that knows nothing of this library writes to its palace between and during its uses."""

from palace_lab.plan import Plan
from palace_lab.plan.model import Process
from palace_lab.plan.steps import Alternate, Close, write
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s1",
    reports=("mempalace#823", "mempalace#1000"),
    plan=Plan(
        processes=(Process("foreign", target="chroma"),),
        steps=(
            write("first", 40),
            Close("first"),
            Alternate(("foreign", "second"), rounds=8, batch=5, first=100),
            Close("second"),
            write("foreign", 40, first=200),
        ),
    ),
    off=Fixes.all().without("foreign_check", "read_back"),
    accepts={"*": "index-ruined"},
    nightly=True,
)
