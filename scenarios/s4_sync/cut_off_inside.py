"""An exception inside a transaction leaves it open, and nobody else can write any more."""

from palace_lab.plan.memories import at_one_desk
from palace_lab.plan.steps import Do
from palace_lab.scenario import SQLITE, Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s4",
    reports=("memory-server",),
    plan=at_one_desk(
        Do("server", "remember", {"first": 1}),
        Do("server", "cut_off", {"n": 2}),
        Do("peer", "remember", {"first": 3}),
        Do("server", "remember", {"first": 4}),
        time_scale=0.05,
        may_refuse=("server",),
    ),
    off=Fixes.none(),
    as_reported=Fixes.reported("local"),
    accepts={SQLITE: "locked"},
    releases=(SQLITE,),
)
