"""A resync that is cut in the middle leaves its transaction open, and nobody can write any more."""

from palace_lab.plan.memories import healed, with_remote
from palace_lab.plan.model import Process
from palace_lab.plan.steps import Close, Do
from palace_lab.scenario import SQLITE, Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s4",
    reports=("memory-server",),
    plan=with_remote(
        Do("remote", "put", {"first": 0, "count": 250}),
        Do("remote", "fault", {"what": "cut-reply", "where": "after=200", "bytes_": 2000}),
        Do("agent", "sync"),
        Do("peer", "remember", {"first": 300}),
        Close("peer"),
        *healed("agent"),
        processes=(Process("peer", options={"machine": "agent"}),),
    ),
    off=Fixes.none(),
    as_reported=Fixes.reported("sync"),
    accepts={SQLITE: "locked"},
    releases=(SQLITE,),
)
