"""A memory that the remote refuses keeps this machine from pulling anything."""

from palace_lab.plan.memories import with_remote
from palace_lab.plan.steps import Do
from palace_lab.scenario import SQLITE, Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s4",
    reports=("memory-server",),
    plan=with_remote(
        Do("remote", "answer", {"first": 1, "status": 500}),
        Do("remote", "put", {"first": 2}),
        Do("agent", "remember", {"first": 1}),
        Do("agent", "sync", {"rounds": 5}),
    ),
    off=Fixes.all().without("sync_independent"),
    as_reported=Fixes.reported("sync"),
    accepts={SQLITE: "not-converged"},
    releases=(SQLITE,),
)
