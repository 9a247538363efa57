"""A reader that stays in one transaction makes the log of everybody else grow without end."""

from palace_lab.plan.graph import on_graph
from palace_lab.plan.model import Process
from palace_lab.plan.steps import Do
from palace_lab.scenario import SQLITE, Scenario
from palace_store.fixes import Fixes

MEGABYTE = {"count": 16, "source_bytes": 64_000}

scenario = Scenario(
    system="s2",
    reports=("mempalace#948",),
    plan=on_graph(
        Do("founder", "add", {"n": 0}),
        Do("reader", "pin"),
        Do("writer", "open", {"log_bytes_max": 2_000_000}),
        *(Do("writer", "add_together", {"first": 16 * turn, **MEGABYTE}) for turn in range(8)),
        Do("reader", "measure_log", {"most_bytes": 6_000_000}),
        Do("reader", "unpin"),
        Do("later", "open", {"log_bytes_max": 2_000_000}),
        Do("later", "add", {"n": 0}),
        Do("later", "measure_log", {"most_bytes": 2_000_000}),
        time_scale=0.05,
        processes=(Process("writer", may_refuse=True),),
    ),
    off=Fixes.all().without("kg_log_bound"),
    as_reported=Fixes.reported("kg"),
    accepts={SQLITE: "log-too-long"},
    releases=(SQLITE,),
)
