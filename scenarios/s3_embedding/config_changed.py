"""A server keeps the model it was started with; its configuration names another one by now."""

from palace_lab.plan.model import Process
from palace_lab.plan.steps import Do, write
from palace_lab.plan.texts import NEW, OLD, on_texts
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s3",
    reports=("memtomem#707",),
    plan=on_texts(
        Do("owner", "configure", {"model": OLD}),
        Do("server", "open"),
        Do("owner", "configure", {"model": NEW}),
        write("server", 20),
        write("command", 20, first=10),
        processes=(
            Process("server", may_refuse=True, options={"configured": True}),
            Process("command", options={"configured": True}),
        ),
    ),
    off=Fixes.all().without("embedding_identity", "embedding_config"),
    as_reported=Fixes.reported("embedding"),
    accepts={"*": "mixed-models"},
    nightly=True,
)
