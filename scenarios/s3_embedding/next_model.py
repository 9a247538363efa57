"""A process writes after another one with a different model of the same dimension has ended."""

from palace_lab.plan.steps import Close, write
from palace_lab.plan.texts import NEW, OLD, embeds, on_texts
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s3",
    reports=("memtomem#707",),
    plan=on_texts(
        write("one", 20),
        Close("one"),
        write("two", 20, first=10),
        processes=(embeds("one", OLD), embeds("two", NEW, may_refuse=True)),
    ),
    off=Fixes.all().without("embedding_identity"),
    as_reported=Fixes.reported("embedding"),
    accepts={"*": "mixed-models"},
)
