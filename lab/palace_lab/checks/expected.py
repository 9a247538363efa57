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

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from palace_lab.history.merge import Call

#: Drawers numbered from here on are written by observers, after everything that is judged.
PROBE_FIRST = 9_000_000
_FOREVER = 2**62
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


@dataclass(frozen=True)
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
    deaths = died_ns or {}
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
    """Return whether the drawer may be absent, and which revisions it may have."""
    absent = not any(change.certain for change in done)  # else a delete has to say so
    revisions: set[int] = set()
    for change in done:
        if any(_replaces(later, change) for later in done):
            continue
        if change.op == "delete":
            absent = True
        elif change.op == "upsert" or _found_nothing(change, done):
            revisions.add(change.revision)
    return absent, tuple(sorted(revisions))


def _replaces(later: _Change, earlier: _Change) -> bool:
    """Tell whether the later change came after the earlier one for certain, and undid it."""
    if not later.certain or later.began <= earlier.ended:
        return False
    return later.op != "add" or earlier.op == "delete"


def _found_nothing(add: _Change, done: list[_Change]) -> bool:
    """Tell whether an `add` may be what the drawer ended up with: it came after all that undoes.

    Then something emptied the drawer before it (a delete, or nobody had written yet), and whatever
    is certain to have filled it came before that, or as an `add` too late to matter.
    """
    certain = [change for change in done if change.certain]
    undoing = [change for change in certain if change.op != "add"]
    for emptied in (_START, *(change for change in done if change.op == "delete")):
        earliest = max(change.began for change in (add, emptied, *undoing))
        if earliest <= add.ended and all(
            change.began <= emptied.ended or (change.op == "add" and change.ended >= earliest)
            for change in certain
            if change.op != "delete"
        ):
            return True
    return False
