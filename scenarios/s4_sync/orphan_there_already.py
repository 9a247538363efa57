"""Memories that both sides have in the same words, unknown to each other, are there twice after."""

from palace_lab.plan.memories import with_remote
from palace_lab.plan.steps import Do
from palace_lab.scenario import SQLITE, Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s4",
    reports=("memory-server",),
    plan=with_remote(
        Do("remote", "put", {"first": 2, "count": 5}),
        Do("agent", "make_old", {"version": 1, "first": 0, "count": 5}),
        Do("agent", "open"),
        Do("agent", "sync"),
        Do("other", "sync"),
    ),
    off=Fixes.all().without("sync_dedup"),
    as_reported=Fixes.reported("sync"),
    accepts={SQLITE: "duplicate"},
    releases=(SQLITE,),
)
