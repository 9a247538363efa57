"""A writer commits triple after triple, alone, and its log is copied back in short checkpoints."""

from palace_lab.plan.graph import on_graph
from palace_lab.plan.steps import Do
from palace_lab.scenario import SQLITE, Scenario
from palace_store.fixes import Fixes

#: 16 pages each: 80 of them are more than the 1,000 pages after which SQLite itself begins.
TRANSACTIONS, BYTES = 80, 64_000

scenario = Scenario(
    system="s2",
    reports=("mempalace#948",),
    plan=on_graph(
        Do("writer", "open"),
        *(
            Do("writer", "add_together", {"first": n, "count": 1, "source_bytes": BYTES})
            for n in range(TRANSACTIONS)
        ),
        Do("writer", "measure_log", {"most_bytes": 1_200_000}),
    ),
    off=Fixes.all().without("kg_autocheckpoint"),
    accepts={SQLITE: "log-too-long"},
    releases=(SQLITE,),
)
