"""Another program that holds the memory file for 20 s outlasts one wait of 5 s."""

from palace_lab.plan.memories import at_one_desk
from palace_lab.plan.steps import Begin, Do, Finish
from palace_lab.scenario import SQLITE, Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s4",
    reports=("memory-server",),
    plan=at_one_desk(
        Do("server", "remember", {"first": 1}),
        Do("stranger", "hold"),
        Begin("server", "remember", {"first": 2}),
        Do("stranger", "release", {"after_s": 20.0}),
        Finish("server"),
        time_scale=0.05,
    ),
    off=Fixes.none(),
    as_reported=Fixes.reported("local"),
    accepts={SQLITE: "locked"},
    releases=(SQLITE,),
)
