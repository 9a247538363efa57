"""A server that is asked to end in the middle of a commit leaves no log behind."""

from palace_lab.plan.graph import on_graph
from palace_lab.plan.steps import Begin, Do, Finish, Held, Hold, Release, Terminate
from palace_lab.scenario import SQLITE, Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s2",
    reports=("mempalace#948",),
    plan=on_graph(
        Do("server", "install_shutdown_handler"),
        Do("server", "add_triples", {"first": 0, "count": 20}),
        Hold("server", "write", "*/knowledge.sqlite3-wal"),
        Begin("server", "add", {"n": 20}),
        Held("server"),
        Terminate("server"),
        Release("server"),
        Finish("server"),
        Do("reader", "measure_log", {"most_bytes": 0}),
        Do("next", "add", {"n": 0}),
    ),
    off=Fixes.all().without("kg_clean_shutdown"),
    as_reported=Fixes.reported("kg"),
    accepts={SQLITE: "log-too-long"},
    releases=(SQLITE,),
)
