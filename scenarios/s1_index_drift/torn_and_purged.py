"""A raw writer dies in mid-flush after its log was purged: what the torn files hold comes back."""

from palace_lab.plan import Plan
from palace_lab.plan.model import Process, Shape
from palace_lab.plan.steps import Crash, write
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s1",
    reports=("mempalace#823", "mempalace#1000"),
    plan=Plan(
        shape=Shape(sync_threshold=100, batch_size=50),
        processes=(Process("raw", target="chroma"),),
        steps=(
            Crash("raw", "write", "*/data_level0.bin", at=0.65),
            write("raw", 250),
        ),
    ),
    off=Fixes.all().without("salvage", "canary"),
    accepts={"*": "index-ruined"},
    nightly=True,
)
