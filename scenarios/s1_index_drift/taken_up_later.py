"""chromadb 0.x replaces vectors in its graph when a batch is full: nobody may be cut off then."""

from palace_lab.plan import Plan
from palace_lab.plan.model import Process, Shape
from palace_lab.plan.steps import AnyStep, Close, Do, write
from palace_lab.scenario import Scenario, Size
from palace_store.fixes import Fixes

_COLLECTIONS, _EACH = 100, 100  # the numbers of drawers, of which no two share one
_DRAWERS, _REPLACED, _BATCH = 30, 5, 10


def plan(_: Size) -> Plan:
    """Return the plan: in each collection vectors wait until drawers that replace none come."""
    processes: list[Process] = []
    steps: list[AnyStep] = []
    for first in range(0, _COLLECTIONS * _EACH, _EACH):
        name, more = f"writer-{first}", _BATCH - _REPLACED
        processes.append(Process(name, options={"collection": f"collection-{first}"}))
        numbers = range(first, first + _DRAWERS + more)
        wanted = [[each, int(each < first + _REPLACED)] for each in numbers]
        steps += [
            write(name, _DRAWERS, first=first, batch=_BATCH),
            write(name, _REPLACED, first=first, how="upsert", revision=1),
            write(name, more, first=first + _DRAWERS, batch=_BATCH),
            Do(name, "found", {"wanted": wanted}),
            Close(name),
        ]
    shape = Shape(dimension=16, sync_threshold=20_000, batch_size=_BATCH)
    return Plan(processes=tuple(processes), shape=shape, steps=tuple(steps), observers=())


scenario = Scenario(
    system="s1",
    reports=("mempalace#823",),
    plan=plan,
    off=Fixes.all().without("relink"),
    accepts={"*": "search-refused"},
    probability=0.8,
    releases=("0.6.3",),
    nightly=True,
    in_ci=False,  # a race of long trials, and one of them shows little
)
