"""A Hypothesis state machine whose rules append steps to a plan; the lab plays and judges it.

Rules:
- A rule only writes down what is to happen. At the end the whole example is one plan, played by the
  lab's own runner and judged by its checks, so that it can be stored, replayed and sent away.
- What a rule may do depends on the plan so far alone, never on how a call ended: shrinking leaves
  steps out, and what is left still makes sense. So a process with a crash point is closed after the
  one operation in which it may die, and whoever comes after it has another name.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from palace_lab.plan import Plan
from palace_lab.plan.drawn import POINTS
from palace_lab.plan.model import Process, Shape
from palace_lab.plan.steps import Close, Crash, Do, Kill, Step, write

#: Few drawers to a flush, so that a short plan has several.
SHAPE = Shape(sync_threshold=6, batch_size=3)
SLOTS = st.sampled_from(["left", "right"])
FIRST = st.integers(0, 24)
COUNT = st.integers(1, 12)
BATCH = st.sampled_from([12, 3, 1])
FACTS = st.integers(0, 5)
DAYS = st.integers(1, 9)
CRASHES = st.sampled_from(sorted(POINTS)).flatmap(
    lambda point: st.tuples(*map(st.just, point), st.integers(1, POINTS[point]))
)


class PlanMachine(RuleBasedStateMachine):
    """Writes a plan, a rule at a time. Subclasses say by whom it is played, and what is tried."""

    player: ClassVar[Callable[[Plan], None]]
    releases: ClassVar[tuple[str, ...]]  # a palace begins on one of them and may go on to the next
    fixes: ClassVar[tuple[str, ...]]

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.at = 0  # which release new processes run
        self.named: dict[str, Process] = {}
        self.alive: dict[str, str] = {}  # slot: its process
        self.born: Counter[str] = Counter()
        self.revisions: dict[int, list[int]] = {}
        self.told: set[int] = set()
        self.ended: set[int] = set()

    # -- who does it ---------------------------------------------------------------------

    def at_work(self, slot: str) -> str:
        """Return the slot's process, a new one if there is none."""
        if slot not in self.alive:
            self.born[slot] += 1
            self.alive[slot] = name = f"{slot}-{self.born[slot]}"
            self.named[name] = Process(
                name, release=self.releases[self.at], options={"graph": "all"}
            )
        return self.alive[slot]

    def put(self, slot: str, how: str, first: int, count: int, batch: int) -> None:
        revision = 1 + len(self.steps)
        for number in range(first, first + count):
            self.revisions.setdefault(number, []).append(revision)
        self.steps.append(
            write(self.at_work(slot), count, first=first, batch=batch, how=how, revision=revision)
        )

    def reading(self, process: str, how: str) -> Do:
        wanted = [[n, *reversed(found)] for n, found in sorted(self.revisions.items())]
        return {
            "search": Do(process, "found", {"wanted": wanted}),
            "get": Do(process, "listed"),
            "count": Do(process, "count"),
        }[how]

    def asking(self, process: str, day: int) -> Do:
        return Do(process, "held", {"numbers": sorted(self.told), "day": day})

    # -- rules ---------------------------------------------------------------------------

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.at = data.draw(st.integers(0, len(self.releases) - 1), label="at")

    @rule(slot=SLOTS, first=FIRST, count=COUNT, batch=BATCH)
    def add(self, slot: str, first: int, count: int, batch: int) -> None:
        self.put(slot, "add", first, count, batch)

    @rule(slot=SLOTS, first=FIRST, count=COUNT, batch=BATCH)
    def upsert(self, slot: str, first: int, count: int, batch: int) -> None:
        self.put(slot, "upsert", first, count, batch)

    @precondition(lambda self: self.revisions)
    @rule(slot=SLOTS, first=FIRST, count=COUNT)
    def delete(self, slot: str, first: int, count: int) -> None:
        args = {"first": first, "count": count, "batch": count}
        self.steps.append(Do(self.at_work(slot), "delete", args))

    @precondition(lambda self: self.revisions)
    @rule(slot=SLOTS, how=st.sampled_from(["search", "get", "count"]))
    def read(self, slot: str, how: str) -> None:
        self.steps.append(self.reading(self.at_work(slot), how))

    @rule(slot=SLOTS, n=FACTS)
    def tell(self, slot: str, n: int) -> None:
        if n not in self.ended:  # a fact that is told again after its end is another fact
            self.told.add(n)
            self.steps.append(Do(self.at_work(slot), "tell", {"n": n}))

    @precondition(lambda self: self.told - self.ended)
    @rule(slot=SLOTS, data=st.data(), day=DAYS)
    def end(self, slot: str, data: st.DataObject, day: int) -> None:
        n = data.draw(st.sampled_from(sorted(self.told - self.ended)), label="n")
        self.ended.add(n)
        self.steps.append(Do(self.at_work(slot), "end", {"n": n, "day": day}))

    @precondition(lambda self: self.told)
    @rule(slot=SLOTS, day=DAYS)
    def ask(self, slot: str, day: int) -> None:
        self.steps.append(self.asking(self.at_work(slot), day))

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), how=st.sampled_from([Close, Kill]))
    def leave(self, data: st.DataObject, how: type[Close | Kill]) -> None:
        slot = data.draw(st.sampled_from(sorted(self.alive)), label="slot")
        self.steps.append(how(self.alive.pop(slot)))

    @rule(slot=SLOTS, point=CRASHES, first=FIRST, count=COUNT)
    def crash(self, slot: str, point: tuple[str, str, int], first: int, count: int) -> None:
        """Arm a crash point, do one thing, and close what may have survived it."""
        self.steps.append(Crash(self.at_work(slot), *point))
        if "knowledge" in point[1]:
            self.tell(slot, first % 6)
        elif self.revisions and count % 4 == 0:
            self.delete(slot, first, count)
        else:
            self.put(slot, "upsert", first, count, count)
        self.steps.append(Close(self.alive.pop(slot)))

    @precondition(lambda self: self.at < len(self.releases) - 1)
    @rule(linger=st.booleans())
    def hop(self, *, linger: bool) -> None:
        """Go on with the next release; who lives on with the old one may be refused."""
        self.at += 1
        if not linger:
            self.steps += [Close(name) for name in self.alive.values()]
            self.alive.clear()
        for name in self.alive.values():
            old = self.named[name]
            self.named[name] = Process(
                name, release=old.release, may_refuse=True, options=old.options
            )

    # -- what comes of it ----------------------------------------------------------------

    def plan(self) -> Plan:
        """Return the example as a plan: last, everybody leaves and a new process reads."""
        last: list[Step] = [Close(name) for name in self.alive.values()]
        if self.revisions:
            last += [self.reading("last", "get"), self.reading("last", "search")]
        if self.told:
            last += [self.asking("last", day) for day in (1, 5, 9)]
        reader = Process("last", release=self.releases[self.at], options={"graph": "all"})
        return Plan(
            name="machine",
            release=self.releases[self.at],
            seed=1,
            fixes=self.fixes,
            target="mixed",
            shape=SHAPE,
            processes=(*self.named.values(), reader),
            steps=(*self.steps, *last),
            observers=("palace", "chroma", "triples") if self.revisions else ("triples",),
            reach="any",
        )

    def teardown(self) -> None:
        """Play the example, unless Hypothesis gave it up before it was complete."""
        if sys.exc_info()[0] is None and (self.revisions or self.told):
            type(self).player(self.plan())
