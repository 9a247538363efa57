"""A reply that is lost after the remote stored a memory makes the retry a second copy."""

from palace_lab.plan.memories import healed, with_remote
from palace_lab.plan.steps import Do
from palace_lab.scenario import SQLITE, Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s4",
    reports=("memory-server",),
    plan=with_remote(
        Do("agent", "remember", {"first": 1}),
        Do("remote", "fault", {"what": "lose-reply", "where": "POST /memories"}),
        Do("agent", "push", {"rounds": 2}),
        *healed("agent"),
    ),
    off=Fixes.all().without("sync_idempotency"),
    as_reported=Fixes.reported("sync"),
    accepts={SQLITE: "duplicate"},
    releases=(SQLITE,),
)
