"""What the check for a replaced library costs a server's call, beside a server without it (S0).

Both servers run at once, each with a palace and an environment of its own, and are called in turns
by the SDK's client over stdio. Reading is never checked where reads go on (`refuse_writes`), so it
is measured with `stale_check` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

from palace_lab.benchmarks.model import Bound, Case, Contestant, Sample
from palace_lab.benchmarks.palaces import Palaces, ask
from palace_lab.plan.model import Plan, Process, Shape
from palace_lab.processes.supervise import Worker
from palace_lab.runner.launch import launch
from palace_lab.runner.servers import Servers
from palace_store.fixes import Fixes

_CALLS = 300
#: What the check may cost: a call takes some milliseconds, a look half of one.
_MOST = 2.0
_UNCHECKED = Fixes.all().without("stale_check", "refuse_writes")
_CHECKED = {"kg_add": Fixes.all(), "kg_query": Fixes.all().without("refuse_writes")}


def checking(palaces: Palaces, scale: float) -> Iterator[Case]:
    """One call of a tool, with the check for a replaced library and without."""
    count = max(20, round(_CALLS * scale))
    for tool, checked in _CHECKED.items():
        with ExitStack() as stack:
            contestants = tuple(
                Contestant(name, _calling(_server(palaces, stack, name, fixes), tool, count))
                for name, fixes in (("checked", checked), ("unchecked", _UNCHECKED))
            )
            bound = Bound("checked", "unchecked", _MOST, at_least=False)
            yield Case(f"a call of {tool}", "s", contestants, (bound,))


def _server(palaces: Palaces, stack: ExitStack, name: str, fixes: Fixes) -> Worker:
    """Return the client of a new server that has answered a few calls already."""
    directory = stack.enter_context(palaces.fresh("palace", 0))
    process = Process(name, target="mcp")
    plan = Plan(
        steps=(), shape=Shape(384, 1000, 100), release=palaces.release, processes=(process,)
    )
    worker = launch(
        palaces.arena,
        plan,
        directory,
        name,
        target=process.target,
        release=plan.release,
        fixes=tuple(fixes.words()),
        options=Servers(palaces.arena, plan, directory).options(name),
    )
    stack.callback(worker.close)
    ask(worker, "open")
    ask(worker, "timed", tool="kg_add", count=20)
    return worker


def _calling(worker: Worker, tool: str, count: int) -> Callable[[], Sample]:
    return lambda: Sample(ask(worker, "timed", tool=tool, count=count)["seconds"])
