"""A recall whose remote does not answer hangs for as long as the remote does."""

from palace_lab.plan.memories import healed, with_remote
from palace_lab.plan.steps import Do
from palace_lab.scenario import SQLITE, Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s4",
    reports=("memory-server",),
    plan=with_remote(
        Do("remote", "put", {"first": 1}),
        Do("agent", "sync"),
        Do("remote", "fault", {"what": "hold", "where": "GET /recall", "hold_s": 30.0}),
        Do("agent", "recall", {"n": 1}),
        Do("remote", "expect_holding"),
        *healed("agent"),
        time_scale=0.1,
    ),
    off=Fixes.all().without("sync_recall_timeout"),
    as_reported=Fixes.reported("sync"),
    accepts={SQLITE: "waited-for-remote"},
    releases=(SQLITE,),
)
