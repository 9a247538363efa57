"""A palace taken from release to release, its writer killed inside a flush before each hop.

At each stop a process of that release writes, and has written in good order before it is made to
die in a flush; fresh processes of the next release then look at what it left; then that one writes.
"""

from __future__ import annotations

from palace_lab.plan import steps
from palace_lab.plan.model import Plan, Process

#: The files whose rewriting is cut off, in turns: the index metadata, and the vectors themselves.
_FILES = ("*/index_metadata.pickle", "*/data_level0.bin")
#: Drawers that a release writes in good order, and while it is to die: several flushes each.
_CALM, _DOOMED = 40, 60


def hops(*releases: str) -> Plan:
    """Return the plan through these releases and then the one under test, which lives on."""
    plan: list[steps.AnyStep] = []
    names = [f"writer-{release}" for release in releases]
    first = 0
    for name, following, number in zip(names, [*releases[1:], ""], range(len(names)), strict=True):
        plan += killed_in_flush(name, first=first, file=_FILES[number % len(_FILES)])
        plan.append(steps.Check(following))
        first += _CALM + _DOOMED
    plan += [steps.write("writer", _CALM, first=first), steps.Close("writer")]
    processes = zip(names, releases, strict=True)
    return Plan(
        steps=tuple(plan),
        processes=tuple(Process(name, release=release) for name, release in processes),
    )


def killed_in_flush(name: str, *, first: int, file: str = _FILES[0]) -> list[steps.AnyStep]:
    """Return the steps in which a process writes drawers from `first` on, and dies of a flush."""
    return [
        steps.write(name, _CALM, first=first),
        steps.Crash(name, "write", file, at=0.5),
        steps.write(name, _DOOMED, first=first + _CALM),
        steps.Close(name),
    ]
