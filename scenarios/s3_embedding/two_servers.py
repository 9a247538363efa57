"""Two memory servers with different models of the same dimension write to one palace."""

from palace_lab.plan.servers import two_models
from palace_lab.plan.texts import NEW, OLD
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s3",
    reports=("memtomem#707",),
    plan=two_models(OLD, NEW),
    off=Fixes.all().without("embedding_identity"),
    accepts={"*": "mixed-models"},
    nightly=True,
)
