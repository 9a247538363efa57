"""The field of a soak: the cells it draws from, canaries among them, and the rows they make.

A canary's cell is that of the arm that must hold, with the library of the arm that must fail; the
plan it plays says `fixed`, so nothing that judges the trial can tell. Races have none: of a canary
it has to be sure that it fails.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from palace_lab.catalog import Listed
from palace_lab.judge.night import Judged
from palace_lab.plan.drawn import Drawn
from palace_lab.plan.model import Plan
from palace_lab.report.night_ledger import cell_name
from palace_lab.runner.bench import why_refused
from palace_lab.runner.cells import Cell, chromadb_for, make_row, shown_releases
from palace_lab.runner.lot import Ticket
from palace_lab.scenario import Arm, Size

CANARY = "canary"
#: What takes a larger part of a night for one trial is left out of it.
SHARE_MAX = 0.25


@dataclass(frozen=True)
class SoakOrder:
    """What to draw from.

    `why_not` says of a plan why it is left out, "" if it is not; with `lenient` a row without an
    environment is left out as well, where it would else be refused, which is red. So is a scenario
    that takes minutes out of a night of `seconds` that is too short for it, unless it is `named`.
    """

    scenarios: Sequence[Listed]
    releases: Sequence[str]  # those with an environment, oldest first
    asked: Sequence[str]
    refused: Mapping[str, str]
    seed: int
    no_tracing: str = ""
    why_not: Callable[[Plan], str] = lambda _: ""
    lenient: bool = False
    seconds: float = math.inf
    named: Collection[str] = ()
    costs: Mapping[str, float] = field(default_factory=dict)  # seconds of a trial, by cell


class Field:
    """The cells, by scenario, release and arm; `left_out`: rows without, and why."""

    def __init__(self, order: SoakOrder) -> None:
        self._order = order
        self.cells: dict[tuple[str, str, str], Cell] = {}
        self._refused: dict[tuple[str, str], str] = {}
        self.left_out: dict[tuple[str, str], str] = {}
        for listed in order.scenarios:
            for release in shown_releases(listed.scenario, order.asked):
                chromadb = chromadb_for(release, order.releases)
                cells = [
                    Cell(listed, release, chromadb, arm, 0, order.seed, Size())
                    for arm in listed.scenario.arms()
                ]
                refused = next(filter(None, map(self._why_refused, cells)), "")
                why_not = self._why_too_long(listed) or next(
                    filter(None, map(self._why_not, cells)), ""
                )
                if why_not or refused:
                    rows = self.left_out if why_not or order.lenient else self._refused
                    rows[listed.name, release] = refused or why_not
                    continue
                for cell in cells:
                    self.cells[listed.name, release, cell.arm.role] = cell
                if (canary := _canary(cells)) is not None:
                    self.cells[listed.name, release, CANARY] = canary

    def tickets(self) -> list[Ticket]:
        """Return the lot's tickets: one for each cell that is no canary."""
        return [
            Ticket(
                *key[:2],
                role=cell.arm.role,
                probability=cell.listed.scenario.probability,
                cost_s=self._order.costs.get(cell_name(*key), 0.0),
                minutes=cell.listed.scenario.minutes,
            )
            for key, cell in self.cells.items()
            if key[2] != CANARY
        ]

    def judged(self) -> Iterator[Judged]:
        """Yield every row that is not left out, as it stands."""
        for listed in self._order.scenarios:
            scenario = listed.scenario
            race = scenario.probability is not None or isinstance(scenario.plan, Drawn)
            for release in shown_releases(scenario, self._order.asked):
                if (listed.name, release) in self.left_out:
                    continue
                refused = self._refused.get((listed.name, release), "")
                cells = [
                    cell
                    for arm in scenario.arms()
                    if (cell := self.cells.get((listed.name, release, arm.role))) is not None
                ]
                yield Judged(make_row(listed, release, cells, refused), race)

    def _why_refused(self, cell: Cell) -> str:
        order = self._order
        plan = cell.undisturbed_plan()
        return why_refused(plan, order.releases, order.refused, order.no_tracing)

    def _why_too_long(self, listed: Listed) -> str:
        minutes = listed.scenario.minutes
        least_s = minutes * 60 / SHARE_MAX
        if listed.name in self._order.named or self._order.seconds >= least_s:
            return ""
        return (
            f"one trial takes some {minutes:g} minutes; it is part of nights of "
            f"{least_s / 60:g} minutes and more, or by its name"
        )

    def _why_not(self, cell: Cell) -> str:
        return self._order.why_not(cell.undisturbed_plan())


def _canary(cells: Sequence[Cell]) -> Cell | None:
    """Return the cell that must hold, on the library that must fail; None if that is a race."""
    broken = next((cell for cell in cells if cell.arm.role in ("off", "wrong")), None)
    if broken is None or broken.listed.scenario.probability is not None:
        return None
    arm = Arm("fixed", broken.arm.fixes, broken.arm.options)
    return Cell(broken.listed, broken.release, broken.chromadb, arm, 0, broken.seed, broken.size)
