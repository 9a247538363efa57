"""Plans about memories: what the scenarios of S4 have in common, once.

Memories do not depend on chromadb, and nobody has to mend them: they are read back by one observer
that does not use our library.
"""

from __future__ import annotations

from palace_lab.plan.model import Plan, Process
from palace_lab.plan.steps import AnyStep

#: Processes of this machine share one memory file.
MACHINE = "desk"


def on_memories(
    *steps: AnyStep, time_scale: float = 1.0, processes: tuple[Process, ...] = ()
) -> Plan:
    """Return the plan that does these steps to the memories of each process's own machine."""
    return Plan(
        target="memories",
        observers=("memories",),
        time_scale=time_scale,
        processes=processes,
        steps=steps,
    )


def at_one_desk(*steps: AnyStep, time_scale: float = 1.0, may_refuse: tuple[str, ...] = ()) -> Plan:
    """Return the plan in which all processes share the memories of one machine.

    Those named in `may_refuse` may refuse a call.
    """
    plan = on_memories(*steps, time_scale=time_scale)
    shared = tuple(
        Process(name, may_refuse=name in may_refuse, options={"machine": MACHINE})
        for name in plan.process_names()
    )
    return plan.changed(processes=shared)
