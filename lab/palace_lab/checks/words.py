"""Words the checks share: naming drawers without printing thousands."""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN = 6


def some(numbers: Sequence[int]) -> str:
    """Return the first few numbers, and how many more there are."""
    shown = ", ".join(map(str, numbers[:_SHOWN]))
    return shown if len(numbers) <= _SHOWN else f"{shown} and {len(numbers) - _SHOWN} more"
