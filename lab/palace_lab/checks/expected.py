"""What a palace must, may and must not hold, by what its writers were told.

Rules:
- *ok* must be there; *fail* (refused before any effect) changes nothing; *info*, a death inside the
  call included, may have happened or not.
- Of several changes to one drawer the last decides. One change is after another only if it began
  when the other had ended; changes at the same time may have come in either order.
- A call that ended with an error may take effect at any time after. One whose process died in it
  may not once that is dead: the libraries under test live in the process that calls them.
- `add` leaves a drawer that is there as it is; `upsert` and `delete` do not.

What comes out is exact: a state is allowed if and only if some order of the changes that agrees
with the clock leads to it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate

from palace_lab.history.merge import Call, many_objects
from palace_lab.plan.model import DRAWERS_END

#: Drawers numbered from here on are written by observers, after everything that is judged.
PROBE_FIRST = DRAWERS_END
_FOREVER = 2**62
_NEVER = -2
_CHANGES = frozenset({"add", "upsert", "delete"})


@dataclass(frozen=True)
class Expectation:
    """By drawer number: revisions one of which must be there, that may be, and drawers gone."""

    must: dict[int, tuple[int, ...]]
    may: dict[int, tuple[int, ...]]
    gone: frozenset[int]

    @property
    def known(self) -> frozenset[int]:
        """Return every drawer anybody tried to write."""
        return frozenset(self.must) | frozenset(self.may) | self.gone


#: Of what nobody tried to write.
NOTHING = Expectation({}, {}, frozenset())


@dataclass(frozen=True, slots=True)
class _Change:
    op: str
    revision: int
    began: int
    ended: int
    certain: bool


#: Before anybody wrote, every drawer is absent, as if a delete had come first.
_START = _Change("delete", 0, began=-1, ended=-1, certain=False)


def expect(calls: Iterable[Call], died_ns: Mapping[str, int] | None = None) -> Expectation:
    """Derive what must hold from the calls of all processes.

    `died_ns` says for processes that are dead when that was known, on the history's clock.
    """
    with many_objects():
        return _expect(calls, died_ns or {})


def _expect(calls: Iterable[Call], deaths: Mapping[str, int]) -> Expectation:
    changes: dict[int, list[_Change]] = defaultdict(list)
    for call in calls:
        if call.begin.op not in _CHANGES:
            continue
        began = call.begin
        ended = _FOREVER
        if call.end is None:
            ended = deaths.get(began.process, _FOREVER)
        elif call.phase == "ok":
            ended = call.end.time_ns
        change = _Change(began.op, began.revision, began.time_ns, ended, call.phase == "ok")
        for number in range(began.first, began.first + began.count):
            known = changes[number]  # a refused drawer is known, too: it must not be there
            if call.phase != "fail":
                known.append(change)
    must: dict[int, tuple[int, ...]] = {}
    may: dict[int, tuple[int, ...]] = {}
    gone: set[int] = set()
    for number, done in changes.items():
        absent, revisions = _possible(done)
        if not revisions:
            gone.add(number)
        elif absent:
            may[number] = revisions
        else:
            must[number] = revisions
    return Expectation(must, may, frozenset(gone))


def _possible(done: list[_Change]) -> tuple[bool, tuple[int, ...]]:
    """Return whether the drawer may be absent, and which revisions it may have.

    In n log n for n changes of one drawer, however many of them are unknown.
    """
    certain = [change for change in done if change.certain]
    absent = not certain  # else a delete has to say so
    latest = max((change.began for change in certain), default=_NEVER)
    undoing = max((change.began for change in certain if change.op != "add"), default=_NEVER)
    adds = [change for change in done if change.op == "add"]
    room = _Room(done, undoing) if adds else None
    revisions: set[int] = set()
    for change in done:
        # A later change undoes this one if it came after it for certain.
        if change.ended < undoing:
            continue
        if change.op == "delete":
            absent = absent or change.ended >= latest  # an `add` undoes a delete, too
        elif change.op == "upsert" or (room is not None and room.for_add(change)):
            revisions.add(change.revision)
    return absent, tuple(sorted(revisions))


class _Room:
    """Where an `add` may be what the drawer ended up with: after all that undoes it.

    Something emptied the drawer before it (a delete, or nobody had written yet), and whatever is
    certain to have filled it came before that, or as an `add` too late to matter.
    """

    def __init__(self, done: list[_Change], undoing: int) -> None:
        certain = [change for change in done if change.certain]
        upserts = max((change.began for change in certain if change.op == "upsert"), default=_NEVER)
        adds = sorted((change.began, change.ended) for change in certain if change.op == "add")
        firsts = [*accumulate((ended for _, ended in reversed(adds)), min)][::-1]
        emptied: list[tuple[int, int]] = []  # from when it was empty, and how late the add may be
        for each in (_START, *(change for change in done if change.op == "delete")):
            filled = bisect_right(adds, (each.ended, _FOREVER))  # by adds from here on
            until = firsts[filled] if filled < len(firsts) else _FOREVER
            if upserts <= each.ended and max(each.began, undoing) <= until:
                emptied.append((max(each.began, undoing), until))
        emptied.sort()
        self._since = [since for since, _ in emptied]
        self._until = [*accumulate((until for _, until in emptied), max)]

    def for_add(self, add: _Change) -> bool:
        """Tell whether there is a moment for this one."""
        empty = bisect_right(self._since, add.ended)
        return empty > 0 and add.began <= self._until[empty - 1]
