"""A process that ends and takes 200 s to fold the log keeps nobody else from writing."""

from palace_lab.plan.graph import on_graph
from palace_lab.plan.steps import Begin, Do, Elapse, Finish, Held, Hold, Release
from palace_lab.scenario import SQLITE, Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s2",
    reports=("mempalace#948",),
    plan=on_graph(
        Do("closer", "add_triples", {"first": 0, "count": 20}),
        Hold("closer", "write", "*/knowledge.sqlite3"),
        Begin("closer", "close"),
        Held("closer"),
        Begin("writer", "add", {"n": 1}),
        Elapse(200.0),
        Release("closer"),
        Finish("closer"),
        Finish("writer"),
        time_scale=0.005,
    ),
    off=Fixes.none(),
    as_reported=Fixes.reported("kg"),
    accepts={SQLITE: "locked"},
    releases=(SQLITE,),
)
