"""Memories stored while the key was wrong are never pushed, though the key is corrected."""

from palace_lab.plan.memories import restart, with_remote
from palace_lab.plan.steps import Do
from palace_lab.scenario import SQLITE, Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s4",
    reports=("memory-server",),
    plan=with_remote(
        Do("remote", "take_key", {"key": "new", "denial": 403}),
        Do("agent", "remember", {"first": 1, "count": 3}),
        Do("agent", "sync", {"rounds": 6}),
        Do("agent", "correct_key", {"key": "new"}),
        Do("agent", "sync", {"rounds": 2}),
        Do("remote", "take_key", {"key": "right"}),
        *restart("agent"),
    ),
    off=Fixes.all().without("sync_auth"),
    as_reported=Fixes.reported("sync"),
    accepts={SQLITE: "parked-wrongly"},
    releases=(SQLITE,),
)
