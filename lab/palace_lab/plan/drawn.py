"""Plans drawn by lot: what befalls a palace in weeks, within seconds.

Two processes at a time write, delete, read and tell facts; they leave, are killed between two
operations, at a system call inside one, after a while in one, and while they mend what the last
death left; strangers that know only chromadb come in between; and the palace goes on with newer
releases.

Rules:
- Everything comes from the generator: the same seed and release draw the same plan.
- A process with a crash point is closed after the one operation in which it may die, and whoever
  comes after it has another name.
- A stranger writes drawers of its own and leaves in good order. Nobody has promised anything about
  what its death costs, nor about what it makes of an index that a death has torn: so one of ours
  looks after the palace before it comes.
- Who lives while a stranger writes is not asked for its drawers: that a peer has written is known
  from what our library leaves, and a stranger leaves nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from packaging.version import Version

from palace_lab.plan.model import Plan, Process, Shape
from palace_lab.plan.steps import AnyStep, Begin, Close, Crash, Do, Elapse, Kill, write

#: Releases a palace may have come from.
STOPS = ("0.6.3", "1.0.21", "1.5.9")
#: Where an operation may be killed: (syscall, file pattern), and the highest k that is tried.
POINTS = {
    ("write", "*/index_metadata.pickle"): 2,
    ("write", "*/data_level0.bin"): 12,
    ("write", "*/chroma.sqlite3"): 8,
    ("write", "*/chroma.sqlite3-journal"): 12,
    ("rename", "*/state.json*"): 2,
    ("fsync", "*"): 8,
    ("write", "*/knowledge.sqlite3-wal"): 4,
}
#: Drawers to a flush and to a batch: few, so that a short plan has several flushes.
_SHAPES = ((6, 3), (10, 5), (40, 10))
_EVENTS = (6, 14)
_DRAWERS = 40  # numbers that come again; strangers' are above
_AT_WORK = 2
_WORK_S = 0.15
_AGAIN = 0.4  # who comes after a death dies as well


@dataclass(frozen=True)
class Drawn:
    """A plan of a scenario that is another one in each trial: made from generator and release."""

    draw: Callable[[random.Random, str], Plan]


def by_lot(lot: random.Random, release: str) -> Plan:
    """Return a plan that ends on this release; "" is one that no palace is too old for."""
    return _Drawing(lot, release).plan()


class _Drawing:
    def __init__(self, lot: random.Random, release: str) -> None:
        self._lot = lot
        self._stops = [old for old in STOPS if not release or Version(old) < Version(release)]
        # All are named, so that it does not depend on the lot which environments are needed.
        self._processes = [Process(f"never-{old}", release=old) for old in self._stops]
        self._route = [*self._stops[lot.randint(0, len(self._stops)) :], ""]
        self._steps: list[AnyStep] = []
        self._alive: list[str] = []
        self._revisions: dict[int, list[int]] = {}
        self._unseen: dict[str, set[int]] = {}  # process → drawers of strangers in its lifetime
        self._told: set[int] = set()
        self._ended: set[int] = set()

    def plan(self) -> Plan:
        sync_threshold, batch_size = self._lot.choice(_SHAPES)
        self._put(self._worker())
        self._die_at_a_point()
        events: dict[Callable[[], object], int] = {
            lambda: self._put(self._worker()): 6,
            self._delete: 1,
            self._read: 2,
            self._fact: 2,
            self._leave: 2,
            self._die_at_a_point: 4,
            self._die_after_a_while: 2,
            self._stranger: 1,
            self._hop: 1,
        }
        for event in self._lot.choices(
            list(events), list(events.values()), k=self._lot.randint(*_EVENTS)
        ):
            event()
        while len(self._route) > 1:
            self._hop()
        self._everybody_leaves()
        self._steps += [
            *(self._reading("last", how) for how in ("listed", "found")),
            *(self._asking("last", day) for day in (1, 5, 9)),
        ]
        self._processes.append(Process("last", options={"graph": "all"}))
        return Plan(
            target="mixed",
            shape=Shape(sync_threshold=sync_threshold, batch_size=batch_size),
            processes=tuple(self._processes),
            steps=tuple(self._steps),
            observers=("palace", "chroma", "triples"),
            reach="any",
        )

    def _worker(self) -> str:
        """Return a process at work, now and then a new one."""
        full = len(self._alive) >= _AT_WORK
        if self._alive and (full or self._lot.random() < 0.6):  # noqa: PLR2004 (a probability)
            return self._lot.choice(self._alive)
        self._alive.append(self._new("worker", target="", graph=True))
        return self._alive[-1]

    def _new(self, what: str, *, target: str, graph: bool) -> str:
        name = f"{what}-{len(self._processes) - len(self._stops) + 1}"
        options = {"graph": "all"} if graph else {}
        self._processes.append(
            Process(name, target=target, release=self._route[0], options=options)
        )
        return name

    def _put(self, name: str, *, most: int = 12, batches: tuple[int, ...] = (12, 3, 1)) -> Do:
        first, count = self._lot.randrange(_DRAWERS), self._lot.randint(1, most)
        revision = 1 + len(self._steps)
        for number in range(first, first + count):
            self._revisions.setdefault(number, []).append(revision)
        how, batch = self._lot.choice(("add", "upsert")), self._lot.choice(batches)
        step = write(name, count, first=first, batch=batch, how=how, revision=revision)
        self._steps.append(step)
        return step

    def _delete(self) -> None:
        first, count = self._lot.randrange(_DRAWERS), self._lot.randint(1, 6)
        args = {"first": first, "count": count, "batch": count}
        self._steps.append(Do(self._worker(), "delete", args))

    def _read(self) -> None:
        how = self._lot.choice(("found", "listed", "count"))
        self._steps.append(self._reading(self._worker(), how))

    def _reading(self, name: str, how: str) -> Do:
        unseen = self._unseen.get(name, set())
        known = {n: found for n, found in self._revisions.items() if n not in unseen}
        wanted = [[n, *reversed(found)] for n, found in sorted(known.items())]
        return Do(name, how, {"wanted": wanted} if how == "found" else {})

    def _fact(self, name: str | None = None) -> None:
        n, name = self._lot.randint(0, 5), name or self._worker()
        if n in self._told - self._ended:
            self._ended.add(n)
            self._steps.append(Do(name, "end", {"n": n, "day": self._lot.randint(1, 9)}))
        elif n not in self._told:  # a fact told again after its end would be another fact
            self._told.add(n)
            self._steps.append(Do(name, "tell", {"n": n}))

    def _asking(self, name: str, day: int) -> Do:
        return Do(name, "held", {"numbers": sorted(self._told), "day": day})

    def _leave(self) -> None:
        if self._alive:
            name = self._lot.choice(self._alive)
            self._alive.remove(name)
            how = self._lot.choice((Close, Kill))
            # Who was given nothing to do, for want of a fact to tell, just leaves.
            busy = any(getattr(step, "process", "") == name for step in self._steps)
            self._steps.append(how(name) if busy else Close(name))

    def _die_at_a_point(self) -> None:
        """Arm a crash point and do one thing; who mends what that leaves may die in turn."""
        name = self._worker()
        while True:
            (syscall, pattern), most = self._lot.choice(sorted(POINTS.items()))
            self._steps.append(Crash(name, syscall, pattern, k=self._lot.randint(1, most)))
            if "knowledge" in pattern:
                self._fact(name)
            else:
                self._put(name, batches=(12,))
            self._steps.append(Close(name))
            self._alive.remove(name)
            if self._lot.random() > _AGAIN:
                return
            name = self._new("mender", target="", graph=True)
            self._alive.append(name)

    def _die_after_a_while(self) -> None:
        name = self._worker()
        work = self._put(name, most=60, batches=(5, 1))
        self._steps[-1] = Begin(name, work.op, work.args)
        self._steps += [Elapse(round(self._lot.uniform(0, _WORK_S), 4)), Kill(name)]
        self._alive.remove(name)

    def _stranger(self) -> None:
        self._steps.append(self._reading(self._worker(), "count"))
        name = self._new("stranger", target="chroma", graph=False)
        first, count = 1000 * len(self._processes), self._lot.randint(1, 30)
        revision = 1 + len(self._steps)
        for number in range(first, first + count):
            self._revisions[number] = [revision]
            for other in self._alive:
                self._unseen.setdefault(other, set()).add(number)
        self._steps += [
            write(name, count, first=first, batch=self._lot.choice((30, 4)), revision=revision),
            Close(name),
        ]

    def _hop(self) -> None:
        if len(self._route) > 1:
            self._everybody_leaves()
            del self._route[0]

    def _everybody_leaves(self) -> None:
        self._steps += [Close(name) for name in self._alive]
        self._alive.clear()
