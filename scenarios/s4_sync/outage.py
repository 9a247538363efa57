"""A remote that was away for six rounds has refused nothing, so nothing is given up."""

from palace_lab.plan.memories import healed, with_remote
from palace_lab.plan.steps import Do
from palace_lab.scenario import SQLITE, Scenario, Wrong
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s4",
    reports=("memory-server",),
    plan=with_remote(
        Do("agent", "remember", {"first": 1, "count": 3}),
        Do("remote", "refuse_connections"),
        Do("agent", "sync", {"rounds": 6}),
        *healed("agent"),
    ),
    wrong=Wrong(
        "an outage counts as attempts: the report's cap, read literally", Fixes.reported("sync")
    ),
    accepts={SQLITE: "parked-wrongly"},
    releases=(SQLITE,),
)
