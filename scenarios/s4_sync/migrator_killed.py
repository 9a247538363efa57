"""A process killed in the middle of a migration leaves a file that no later process can open."""

from palace_lab.plan.memories import at_one_desk
from palace_lab.plan.steps import Crash, Do
from palace_lab.scenario import SQLITE, Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s4",
    reports=("memory-server",),
    plan=at_one_desk(
        Do("founder", "make_old", {"version": 2, "first": 0, "count": 20}),
        Crash("migrator", "write", "*/memories.sqlite3-wal", at=0.5),
        Do("migrator", "open"),
        Do("next", "remember", {"first": 20}),
    ),
    off=Fixes.all().without("local_migration"),
    as_reported=Fixes.reported("local"),
    accepts={SQLITE: "migration-torn"},
    releases=(SQLITE,),
)
