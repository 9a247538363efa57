"""Two processes store the same texts at the same time: one row each, and one of them is told so."""

from palace_lab.plan.steps import Do, Together
from palace_lab.plan.texts import OLD, embeds, on_texts
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

WORK = {"first": 0, "count": 30, "batch": 5}

scenario = Scenario(
    system="s3",
    reports=("memtomem#707",),
    plan=on_texts(
        Together((Do("one", "write", WORK), Do("two", "write", WORK))),
        processes=(embeds("one", OLD), embeds("two", OLD)),
    ),
    off=Fixes.all().without("embedding_claim"),
    accepts={"*": "told-twice"},
)
