"""Three processes with four threads each store memories in one file and lose none."""

from palace_lab.plan.memories import at_one_desk
from palace_lab.plan.model import Plan
from palace_lab.plan.steps import Do, Together
from palace_lab.scenario import SQLITE, Scenario, Size, Wrong


def plan(size: Size) -> Plan:
    """Return the stress: every process opens the file, then all threads store at once."""
    names = [f"server{number}" for number in range(size.processes or 3)]
    work = {"count": 10, "threads": 4}
    return at_one_desk(
        *(Do(name, "open") for name in names),
        Together(
            tuple(
                Do(name, "remember_at_once", {"first": 40 * n, **work})
                for n, name in enumerate(names)
            )
        ),
    )


scenario = Scenario(
    system="s4",
    reports=("memory-server",),
    plan=plan,
    wrong=Wrong("a memory is acknowledged before it is stored", options={"wrong": "ack-first"}),
    accepts={SQLITE: "silent-row-loss"},
    releases=(SQLITE,),
)
