"""A transaction that has read and then writes is refused at once if a peer committed in between."""

from palace_lab.plan.graph import on_graph
from palace_lab.plan.model import Process
from palace_lab.plan.steps import Begin, Do, Finish, Go, Paused
from palace_lab.scenario import SQLITE, Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s2",
    reports=("mempalace#948",),
    plan=on_graph(
        Do("writer", "add", {"n": 1}),
        Begin("writer", "end", {"n": 1, "pauses": 1}),
        Paused("writer", "between-read-and-write"),
        Do("peer", "intrude", {"n": 1}),
        Go("writer"),
        Finish("writer"),
        processes=(Process("peer", may_refuse=True),),
    ),
    off=Fixes.none(),
    as_reported=Fixes.reported("kg"),
    accepts={SQLITE: "locked"},
    releases=(SQLITE,),
)
