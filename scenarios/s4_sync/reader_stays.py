"""A program that stays in one read of the memory file keeps every writer out, unless it is WAL."""

from palace_lab.plan.memories import at_one_desk
from palace_lab.plan.steps import Do
from palace_lab.scenario import SQLITE, Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s4",
    reports=("memory-server",),
    plan=at_one_desk(
        Do("server", "remember", {"first": 1}),
        Do("reader", "pin"),
        Do("server", "remember", {"first": 2}),
        Do("reader", "unpin"),
        time_scale=0.02,
    ),
    off=Fixes.all().without("local_wal"),
    as_reported=Fixes.reported("local"),
    accepts={SQLITE: "locked"},
    releases=(SQLITE,),
)
