"""A memory that was missed once is missed for ever, if nobody ever compares everything again."""

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
        Do("agent", "sync"),
        *healed("agent"),
    ),
    off=Fixes.all().without("sync_resync"),
    accepts={SQLITE: "not-converged"},
    releases=(SQLITE,),
)
