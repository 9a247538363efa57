"""A collection is given to another model while others read it and write to it."""

from palace_lab.plan.steps import Begin, Finish, Go, Paused, write
from palace_lab.plan.texts import NEW, OLD, embeds, neighbours, on_texts
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s3",
    reports=("memtomem#707",),
    plan=on_texts(
        write("reader", 40),
        Begin("resetter", "reset", {"batch": 10}),
        Paused("resetter", "between-batches"),
        neighbours("reader", 40),
        write("writer", 10, first=40),
        Go("resetter"),
        Finish("resetter"),
        neighbours("reader", 40),
        write("writer", 10, first=100),
        neighbours("resetter", 50),
        processes=(
            embeds("reader", OLD, may_refuse=True),
            embeds("writer", OLD, may_refuse=True),
            embeds("resetter", NEW),
        ),
    ),
    off=Fixes.all().without("embedding_reset"),
    accepts={"*": "mixed-models"},
    nightly=True,
)
