"""A server whose connection belongs to one thread fails as soon as two threads serve requests."""

from palace_lab.plan.memories import at_one_desk
from palace_lab.plan.steps import Do
from palace_lab.scenario import SQLITE, Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s4",
    reports=("memory-server",),
    plan=at_one_desk(Do("server", "remember_at_once", {"first": 0, "count": 10, "threads": 2})),
    off=Fixes.none(),
    as_reported=Fixes.reported("local"),
    accepts={SQLITE: "wrong-thread"},
    releases=(SQLITE,),
)
