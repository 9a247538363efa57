"""Two processes with one model share a collection, and a third with another is refused."""

from palace_lab.plan.steps import write
from palace_lab.plan.texts import NEW, OLD, embeds, on_texts
from palace_lab.scenario import Scenario, Wrong

scenario = Scenario(
    system="s3",
    reports=("memtomem#707",),
    plan=on_texts(
        write("one", 20),
        write("peer", 20, first=10),
        write("other", 20, first=20),
        write("one", 20, first=40),
        processes=(
            embeds("one", OLD),
            embeds("peer", OLD),
            embeds("other", NEW, may_refuse=True),
        ),
    ),
    wrong=Wrong("a gate that compares dimensions alone", options={"wrong": "dimension-only"}),
    accepts={"*": "mixed-models"},
    nightly=True,
)
