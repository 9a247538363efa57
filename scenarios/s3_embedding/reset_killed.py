"""A process is killed while it gives a collection to another model, and nobody goes on with it."""

from palace_lab.plan.steps import Crash, Do, write
from palace_lab.plan.texts import NEW, OLD, embeds, neighbours, on_texts
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s3",
    reports=("memtomem#707",),
    plan=on_texts(
        write("old", 40),
        Crash("resetter", "write", "*/chroma.sqlite3*", at=0.5),
        Do("resetter", "reset", {"batch": 10}),
        neighbours("old", 40),
        processes=(embeds("old", OLD, may_refuse=True), embeds("resetter", NEW)),
    ),
    off=Fixes.all().without("embedding_reset"),
    accepts={"*": "mixed-models"},
)
