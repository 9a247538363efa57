"""A second process goes on with a reset that was killed; then the old model is refused."""

from palace_lab.plan.steps import Crash, Do, write
from palace_lab.plan.texts import NEW, OLD, embeds, neighbours, on_texts
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s3",
    reports=("memtomem#707",),
    plan=on_texts(
        write("old", 40),
        Crash("resetter", "write", "*/chroma.sqlite3*", at=0.4),
        Do("resetter", "reset", {"batch": 10}),
        neighbours("old", 40),
        write("old", 5, first=40),
        Do("second", "reset", {"batch": 10}),
        neighbours("second", 45),
        write("old", 5, first=100),
        write("second", 5, first=200),
        processes=(
            embeds("old", OLD, may_refuse=True),
            embeds("resetter", NEW),
            embeds("second", NEW),
        ),
    ),
    off=Fixes.all().without("embedding_reset"),
    accepts={"*": "mixed-models"},
    nightly=True,
)
