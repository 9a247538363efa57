"""Two living processes with models of one dimension write to one collection, in part the same."""

from palace_lab.plan.steps import Do, Together, write
from palace_lab.plan.texts import NEW, OLD, embeds, on_texts
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s3",
    reports=("memtomem#707",),
    plan=on_texts(
        write("one", 10),
        Together(
            (
                Do("one", "write", {"first": 10, "count": 20, "batch": 10}),
                Do("two", "write", {"first": 20, "count": 20, "batch": 10}),
            )
        ),
        processes=(embeds("one", OLD), embeds("two", NEW, may_refuse=True)),
    ),
    off=Fixes.all().without("embedding_identity"),
    as_reported=Fixes.reported("embedding"),
    accepts={"*": "mixed-models"},
)
