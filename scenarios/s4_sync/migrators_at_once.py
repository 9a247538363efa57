"""Two processes migrate the schema of one memory file at once, and each finds half of it done."""

from palace_lab.plan.memories import at_one_desk
from palace_lab.plan.steps import Begin, Do, Finish, Go, Paused
from palace_lab.scenario import SQLITE, Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s4",
    reports=("memory-server",),
    plan=at_one_desk(
        Do("founder", "make_old", {"version": 1, "first": 0, "count": 20}),
        Begin("first", "open", {"pause_at": 2}),
        Paused("first", "migrating"),
        Begin("second", "open", {"pause_when_locked": True}),
        Paused("second", "locked"),
        Go("first"),
        Finish("first"),
        Go("second"),
        Finish("second"),
        Do("first", "remember", {"first": 20}),
        Do("second", "remember", {"first": 21}),
    ),
    off=Fixes.all().without("local_migration"),
    as_reported=Fixes.reported("local"),
    accepts={SQLITE: "migration-torn"},
    releases=(SQLITE,),
)
