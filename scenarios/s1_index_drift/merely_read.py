"""A healthy palace that was written hours ago and has been opened since, to read, is left alone."""

from palace_lab.plan import Plan
from palace_lab.plan.steps import Backdate, Close, Do, write
from palace_lab.scenario import Scenario, Wrong
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s1",
    reports=("mempalace#1000",),
    plan=Plan(
        steps=(
            write("writer", 120),
            Close("writer"),
            Backdate("chroma.sqlite3", seconds=2 * 3600),
            Backdate("*/data_level0.bin", seconds=2 * 3600),
            Do("visitor", "opened"),
            Close("visitor"),
        ),
    ),
    wrong=Wrong(
        "the published rename: chromadb writes to its database at every open",
        Fixes.reported("quarantine"),
    ),
    accepts={"*": "silent-vector-loss"},
    releases=("1.0.21", "1.5.9"),
    nightly=True,
)
