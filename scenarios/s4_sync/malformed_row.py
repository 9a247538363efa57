"""One malformed row of the remote keeps everything from being pulled that comes after it."""

from palace_lab.plan.memories import healed, with_remote
from palace_lab.plan.steps import Do
from palace_lab.scenario import SQLITE, Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s4",
    reports=("memory-server",),
    plan=with_remote(
        Do("remote", "put", {"first": 1, "count": 3}),
        Do("remote", "malform", {"first": 2}),
        Do("agent", "sync", {"rounds": 2}),
        Do("agent", "know", {"first": 3}),
        *healed("agent"),
    ),
    off=Fixes.all().without("sync_rows"),
    as_reported=Fixes.reported("sync"),
    accepts={SQLITE: "not-converged"},
    releases=(SQLITE,),
)
