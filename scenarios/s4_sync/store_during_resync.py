"""A memory stored while a resync is under way is deleted by it: the list it has is older."""

from palace_lab.plan.memories import healed, with_remote
from palace_lab.plan.steps import Do
from palace_lab.scenario import SQLITE, Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s4",
    reports=("memory-server",),
    plan=with_remote(
        Do("remote", "put", {"first": 1}),
        Do("agent", "open"),
        Do("remote", "fault", {"what": "hold", "where": "GET /changes", "hold_s": 60.0}),
        Do("agent", "start"),
        Do("remote", "await_held"),
        Do("agent", "remember", {"first": 2}),
        *healed("agent"),
    ),
    off=Fixes.all().without("sync_tombstones"),
    as_reported=Fixes.reported("sync"),
    accepts={SQLITE: "silent-row-loss"},
    releases=(SQLITE,),
)
