"""Two servers of one machine store from four threads each while both sync, and lose nothing."""

from palace_lab.plan.memories import healed, with_remote
from palace_lab.plan.model import Process
from palace_lab.plan.steps import Close, Do, Together
from palace_lab.scenario import SQLITE, Scenario, Wrong

WORK = {"count": 5, "threads": 4}

scenario = Scenario(
    system="s4",
    reports=("memory-server",),
    plan=with_remote(
        Do("remote", "put", {"first": 1000, "count": 20}),
        Do("server", "start"),
        Do("second", "start"),
        Together(
            (
                Do("server", "remember_at_once", {"first": 0, **WORK}),
                Do("second", "remember_at_once", {"first": 100, **WORK}),
                Do("remote", "put", {"first": 1020, "count": 20}),
            )
        ),
        Close("second"),
        *healed("server"),
        time_scale=0.05,
        processes=(Process("second", target="agent", options={"machine": "server"}),),
    ),
    wrong=Wrong("a memory is acknowledged before it is stored", options={"wrong": "ack-first"}),
    accepts={SQLITE: "silent-row-loss"},
    releases=(SQLITE,),
)
