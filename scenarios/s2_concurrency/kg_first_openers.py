"""Eight first openers of a new knowledge graph fail at once while a peer holds its write lock."""

from palace_lab.plan.graph import on_graph
from palace_lab.plan.steps import Begin, Do, Finish, Go, Paused
from palace_lab.scenario import SQLITE, Scenario
from palace_store.fixes import Fixes

OPENERS = [f"opener{number}" for number in range(8)]

scenario = Scenario(
    system="s2",
    reports=("mempalace#948",),
    plan=on_graph(
        Do("holder", "hold"),
        *(Begin(name, "open", {"pause_when_locked": True}) for name in OPENERS),
        *(Paused(name, "locked") for name in OPENERS),
        Do("holder", "release"),
        *(Go(name) for name in OPENERS),
        *(Finish(name) for name in OPENERS),
        *(Do(name, "add", {"n": 1}) for name in OPENERS),
    ),
    off=Fixes.none(),
    as_reported=Fixes.reported("kg"),
    accepts={SQLITE: "locked"},
    releases=(SQLITE,),
)
