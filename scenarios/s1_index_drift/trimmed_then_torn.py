"""An index that is torn after the log was trimmed is rebuilt from what is left of the log."""

from palace_lab.plan import Plan
from palace_lab.plan.model import Process, Shape
from palace_lab.plan.steps import Crash, write
from palace_lab.scenario import Scenario, Wrong

scenario = Scenario(
    system="s1",
    reports=("mempalace#1000",),
    plan=Plan(
        shape=Shape(dimension=512, sync_threshold=50),
        processes=(Process("writer", options={"trim_slack_bytes": 0}),),
        steps=(
            write("writer", 40, batch=20),  # of which half are never written again
            *(write("writer", 20, batch=20, how="upsert", revision=each) for each in range(1, 13)),
            Crash("writer", "write", "*/index_metadata.pickle", k=1),
            *(write("writer", 20, batch=20, how="upsert", revision=each) for each in range(13, 20)),
        ),
    ),
    wrong=Wrong("what the index has taken up is trimmed", options={"wrong": "trims-too-much"}),
    accepts={"*": "silent-vector-loss"},
    nightly=True,
)
