"""Many processes write triples and drawers to one palace, some are killed in mid-flush."""

from palace_lab.plan import Plan
from palace_lab.plan.steps import Close, Crash, Do, Together
from palace_lab.scenario import Scenario, Size
from palace_store.fixes import Fixes


def plan(size: Size) -> Plan:
    """Return the stress; every other process is killed while it writes the index metadata."""
    drawers, triples = size.drawers or 60, size.triples or 20
    names = [f"writer{number}" for number in range(size.processes or 4)]
    work = {"drawers": drawers, "triples": triples, "batch": 5}
    calls = (Do(name, "work", {"first": n * drawers, **work}) for n, name in enumerate(names))
    return Plan(
        target="mixed",
        observers=("palace", "chroma", "triples"),
        reach="any",
        steps=(
            Do("founder", "work", {"first": len(names) * drawers, **work}),
            Close("founder"),
            *(Crash(name, "write", "*/index_metadata.pickle", k=1) for name in names[::2]),
            Together(tuple(calls)),
        ),
    )


scenario = Scenario(
    system="s2",
    reports=("mempalace#823", "mempalace#948"),
    plan=plan,
    off=Fixes.none(),
    as_reported=Fixes.reported("kg"),
    accepts={"*": "index-ruined"},
    probability=0.9,
    nightly=True,
)
