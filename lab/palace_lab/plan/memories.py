"""Plans about memories: what the scenarios of S4 have in common, once.

Memories do not depend on chromadb, and nobody has to mend them: they are read back by one observer
that does not use our library.
"""

from __future__ import annotations

from palace_lab.plan.model import OWN, Plan, Process
from palace_lab.plan.steps import AnyStep, Close, Do

#: Processes of this machine share one memory file.
MACHINE = "desk"
LATER = "-later"


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


def with_remote(
    *steps: AnyStep, time_scale: float = 0.2, processes: tuple[Process, ...] = ()
) -> Plan:
    """Return the plan in which machines are synced with a remote, which is there from the start.

    A process "name-later" is on the machine of "name": who comes after it, as in `restart`.
    """
    plan = on_memories(Do("remote", "open"), *steps, time_scale=time_scale)
    given = {process.name: process for process in processes}
    given["remote"] = Process("remote", target="remote", release=OWN)
    made = []
    for name in plan.process_names():
        machine = name.removesuffix(LATER)
        usual = Process(name, target="agent", options={"machine": machine})
        made.append(given.get(name, usual))
    return plan.changed(processes=tuple(made))


def restart(*names: str) -> tuple[AnyStep, ...]:
    """Return the steps in which these agents end, come again, and have all told each other."""
    again = [f"{name}{LATER}" for name in names]
    return (
        *(Close(name) for name in names),
        *(Do(name, "sync", {"rounds": 2}) for name in (*again, *again[:-1])),
    )


def healed(*names: str) -> tuple[AnyStep, ...]:
    """Return the steps in which all harm ends, and then everybody restarts."""
    return (Do("remote", "heal"), *restart(*names))
