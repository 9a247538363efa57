"""A writer killed in the middle of a checkpoint loses nothing: its facts are in the log before."""

from palace_lab.plan.graph import on_graph
from palace_lab.plan.steps import Crash, Do
from palace_lab.scenario import SQLITE, Scenario, Wrong

scenario = Scenario(
    system="s2",
    reports=("mempalace#948",),
    plan=on_graph(
        Do("peer", "add_triples", {"first": 0, "count": 5}),
        Do("writer", "add_triples", {"first": 0, "count": 5}),
        Crash("writer", "write", "*/knowledge.sqlite3", at=0.5),
        Do("writer", "add_together", {"first": 5, "count": 16, "source_bytes": 64_000}),
        Do("peer", "add", {"n": 5}),
    ),
    wrong=Wrong("facts of one call get a transaction each", options={"wrong": "one-by-one"}),
    accepts={SQLITE: "half-written"},
    releases=(SQLITE,),
)
