"""A resync that waits for a slow remote holds the memory file, and the server cannot store."""

from palace_lab.plan.memories import healed, with_remote
from palace_lab.plan.steps import Do
from palace_lab.scenario import SQLITE, Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s4",
    reports=("memory-server",),
    plan=with_remote(
        Do("remote", "put", {"first": 0, "count": 3}),
        Do("server", "open"),
        Do("remote", "fault", {"what": "hold", "where": "GET /changes", "hold_s": 60.0}),
        Do("server", "start"),
        Do("remote", "await_held"),
        Do("server", "remember", {"first": 10}),
        Do("remote", "expect_holding"),
        *healed("server"),
    ),
    off=Fixes.none(),
    as_reported=Fixes.reported("sync"),
    accepts={SQLITE: "locked"},
    releases=(SQLITE,),
)
