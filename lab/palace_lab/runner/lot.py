"""The lot of a night: which trial comes next, for ever, from a seed and nothing else.

Rules:
- First come the arms that must fail, every one of them, two for one that must hold: so a short
  night has seen every bug there is to see. A race comes as often as it takes to show with
  `SHOWN` if its declared probability is true, after everything else that is not long came once.
- Then four of five trials are of arms that must hold; the others are of all the other arms.
- Each pass comes in an order of its own. From the second on a cell that took many times what the
  median took sits out passes, so that the cells share the time and not the turns. So does one of
  which that is not known but that is said to take minutes. What takes minutes comes after all else
  of its pass, the shorter first.
- In each block of `CANARY_EVERY` trials that must hold and whose scenario surely fails without its
  fix, one is followed by a canary: the same plan on the library that must fail.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median

from palace_lab.judge.verdict import Role
from palace_lab.runner.trial import derived_seed

#: One canary for so many trials that must hold.
CANARY_EVERY = 16
#: The first canary comes among so many: a night of a few minutes has one too.
_CANARY_FIRST = 4
#: How sure it is that a race shows in the first pass.
SHOWN = 0.99
_REPEATS_MAX = 16
_MUST_TO_FIXED_AT_FIRST = 2
_FIXED_TO_OTHERS = 4
_PASSES_OUT_MAX = 16
_PASSES_OUT_LONG = 8


@dataclass(frozen=True)
class Ticket:
    """A cell in the lot. `cost_s` is what one trial of it took on earlier nights; 0: not known.

    `minutes`: so many it takes, as its scenario says; 0: none.
    """

    scenario: str
    release: str
    role: Role
    probability: float | None = None
    cost_s: float = 0.0
    minutes: float = 0.0

    @property
    def key(self) -> tuple[str, str, str]:
        """Return what tells it from the others."""
        return (self.scenario, self.release, self.role)


@dataclass(frozen=True)
class Draw:
    """One trial. A canary has the number of a fixed trial, and is none."""

    scenario: str
    release: str
    role: Role
    index: int
    canary: bool = False

    @property
    def key(self) -> tuple[str, str, str, int]:
        """Return what tells it from the others."""
        return (self.scenario, self.release, self.role, self.index)


def draws(tickets: Sequence[Ticket], seed: int) -> Iterator[Draw]:
    """Yield the trials of a night, without end unless there is no ticket at all."""
    lot = random.Random(derived_seed(seed, "lot"))  # noqa: S311 (a lot, no secret)
    numbers: Counter[tuple[str, str, str]] = Counter()
    canaries = _canaries(lot)
    fixed = _passes(lot, [each for each in tickets if each.role == "fixed"])
    must = [each for each in tickets if each.role in ("off", "wrong")]
    others = _passes(lot, [each for each in tickets if each.role != "fixed"])
    sure = {(each.scenario, each.release) for each in must if each.probability is None}

    def drawn(ticket: Ticket) -> Iterator[Draw]:
        yield _draw(ticket, numbers)
        if ticket.role == "fixed" and (ticket.scenario, ticket.release) in sure and next(canaries):
            yield _draw(ticket, numbers, canary=True)

    for number, ticket in enumerate(_first_pass(lot, must), start=1):
        yield from drawn(ticket)
        if number % _MUST_TO_FIXED_AT_FIRST == 0:
            yield from (each for ticket in _take(fixed, 1) for each in drawn(ticket))
    while True:
        turn = [*_take(fixed, _FIXED_TO_OTHERS), *_take(others, 1)]
        if not turn:
            return
        yield from (each for ticket in turn for each in drawn(ticket))


def repeats(probability: float | None) -> int:
    """Return how often a trial must be done to show with `SHOWN`."""
    if probability is None or probability >= 1:
        return 1
    return min(_REPEATS_MAX, math.ceil(math.log(1 - SHOWN) / math.log(1 - probability)))


def _draw(ticket: Ticket, numbers: Counter[tuple[str, str, str]], *, canary: bool = False) -> Draw:
    index = numbers[ticket.key]
    numbers[ticket.key] += 1
    return Draw(ticket.scenario, ticket.release, ticket.role, index, canary)


def _first_pass(lot: random.Random, tickets: Sequence[Ticket]) -> list[Ticket]:
    again = [ticket for ticket in tickets for _ in range(repeats(ticket.probability) - 1)]
    passes = [_long_last(_shuffled(lot, each)) for each in (tickets, again)]
    return sorted([*passes[0], *passes[1]], key=lambda each: each.minutes > 0)


def _passes(lot: random.Random, tickets: Sequence[Ticket]) -> Iterator[Ticket]:
    known = [ticket.cost_s for ticket in tickets if ticket.cost_s > 0]
    usual = median(known) if known else 0.0
    number = 0
    while tickets:
        taking_part = [each for each in tickets if number % _every(each, usual) == 0]
        yield from _long_last(_shuffled(lot, taking_part))
        number += 1


def _long_last(tickets: list[Ticket]) -> list[Ticket]:
    return sorted(tickets, key=lambda each: each.minutes)


def _every(ticket: Ticket, usual_s: float) -> int:
    """Return in which of the passes a cell takes part: in every, every second, ..."""
    if ticket.cost_s <= 0 or usual_s <= 0:
        return _PASSES_OUT_LONG if ticket.minutes else 1
    return max(1, min(_PASSES_OUT_MAX, round(ticket.cost_s / usual_s)))


def _canaries(lot: random.Random) -> Iterator[bool]:
    place = lot.randrange(_CANARY_FIRST)
    while True:
        yield from (number == place for number in range(CANARY_EVERY))
        place = lot.randrange(CANARY_EVERY)


def _shuffled(lot: random.Random, tickets: Iterable[Ticket]) -> list[Ticket]:
    found = list(tickets)
    lot.shuffle(found)
    return found


def _take(tickets: Iterator[Ticket], n: int) -> list[Ticket]:
    return list(islice(tickets, n))
