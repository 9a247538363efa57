"""A writer that is stopped for 20 s in the middle of a commit (SIGSTOP) keeps the write lock."""

from palace_lab.plan.graph import on_graph
from palace_lab.plan.steps import Begin, Continue, Do, Elapse, Finish, Held, Hold, Release, Stop
from palace_lab.scenario import SQLITE, Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s2",
    reports=("mempalace#948",),
    plan=on_graph(
        Do("stopped", "add", {"n": 1}),
        Do("waiter", "add", {"n": 1}),
        Hold("stopped", "write", "*/knowledge.sqlite3-wal"),
        Begin("stopped", "add", {"n": 2}),
        Held("stopped"),
        Stop("stopped"),
        Release("stopped"),
        Begin("waiter", "add", {"n": 2}),
        Elapse(20.0),
        Continue("stopped"),
        Finish("stopped"),
        Finish("waiter"),
        time_scale=0.05,
    ),
    off=Fixes.none(),
    as_reported=Fixes.reported("kg"),
    accepts={SQLITE: "locked"},
    releases=(SQLITE,),
)
