"""A memory that the remote refuses for ever is tried for ever, and keeps back all others."""

from palace_lab.plan.memories import with_remote
from palace_lab.plan.steps import Do
from palace_lab.scenario import SQLITE, Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s4",
    reports=("memory-server",),
    plan=with_remote(
        Do("remote", "answer", {"first": 1, "status": 422}),
        Do("agent", "remember", {"first": 1, "count": 3}),
        Do("agent", "sync", {"rounds": 6}),
    ),
    off=Fixes.all().without("sync_cap"),
    as_reported=Fixes.reported("sync"),
    accepts={SQLITE: "not-converged"},
    releases=(SQLITE,),
)
