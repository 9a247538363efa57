"""Three raw processes share one `chroma run`, and our library takes over what they wrote."""

from palace_lab.plan.clients import three_writers
from palace_lab.scenario import Scenario, Wrong
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s2",
    reports=("mempalace#948",),
    plan=three_writers(serves="kitchen"),
    wrong=Wrong("each process opens the files itself", Fixes.none(), {"transport": "files"}),
    accepts={"*": "index-ruined"},
    probability=0.9,
    nightly=True,
)
