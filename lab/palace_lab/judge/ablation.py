"""Which fix is needed: what an ablation has seen, and what follows from it.

A fix is *needed* if a scenario that holds with all of them fails without it. What no scenario needs
alone may stand in for another; a pair shows that, on a scenario that holds without either. What is
left is *not shown to be needed*, with the number of trials that did not show it. Any failure
counts, listed by its scenario or not: a fixed arm promises that there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from palace_store.fixes import Fixes

#: Fixes that a report names, in whatever form: they stay, shown to be needed or not.
_NAMED = frozenset(
    name
    for report in ("quarantine", "quarantine-review", "kg", "local", "sync")
    for name, _ in Fixes.reported(report).variants
) | {"version_guard", "watermark_heal"}
#: Why a fix stays that no scenario is shown to need.
KEPT: Mapping[str, str] = {
    **dict.fromkeys(_NAMED, "a report names it"),
}
Removal = tuple[str, ...]
CONTROL: Removal = ()


@dataclass(frozen=True)
class Spot:
    """What came of one scenario on one release with some fixes off."""

    scenario: str
    release: str
    removed: Removal
    failed: int
    tried: int
    signatures: tuple[str, ...]
    trouble: str = ""  # the lab's own, or why it was refused: says nothing about the fixes

    @property
    def red(self) -> bool:
        """Tell whether the library failed."""
        return self.failed > 0


@dataclass(frozen=True)
class Ablation:
    """All that was seen; `spots` in the order they were run."""

    spots: tuple[Spot, ...]

    def of(self, removed: Removal) -> list[Spot]:
        """Return what was seen with exactly these fixes off."""
        return [spot for spot in self.spots if spot.removed == removed]

    def shown(self, removed: Removal) -> list[Spot]:
        """Return where these fixes are needed: all that is less held there, and this failed."""
        less = [CONTROL, *((fix,) for fix in removed if len(removed) > 1)]
        held = set.intersection(*(self._held(each) for each in less))
        return [
            spot for spot in self.of(removed) if spot.red and (spot.scenario, spot.release) in held
        ]

    def _held(self, removed: Removal) -> set[tuple[str, str]]:
        return {
            (spot.scenario, spot.release)
            for spot in self.of(removed)
            if spot.tried and not spot.red and not spot.trouble
        }

    def needs(self, fix: str) -> bool:
        """Tell whether anything needs a fix, alone or in a pair."""
        return any(self.shown(removed) for removed in ((fix,), *self.pairs(fix)))

    def idle(self, fixes: Iterable[str]) -> list[str]:
        """Return those of the fixes that nothing needs alone."""
        return [fix for fix in fixes if not self.shown((fix,))]

    def unshown(self, fixes: Iterable[str]) -> list[str]:
        """Return those of the fixes that nothing is seen to need, alone or in a pair."""
        return [fix for fix in fixes if not self.needs(fix)]

    def pairs(self, fix: str) -> list[Removal]:
        """Return the pairs with this fix that were tried."""
        found = dict.fromkeys(spot.removed for spot in self.spots)
        return [removed for removed in found if len(removed) > 1 and fix in removed]

    def tried(self, fix: str) -> int:
        """Return in how many trials a fix was off, alone or in a pair."""
        return sum(spot.tried for spot in self.spots if fix in spot.removed)
