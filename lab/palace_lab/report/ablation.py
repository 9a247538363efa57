"""What an ablation amounts to, fix by fix: lines for the terminal and the table of ablation.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from palace_lab.judge.ablation import CONTROL, KEPT, Ablation, Removal, Spot
from palace_lab.report.summary import escape, machine
from palace_lab.report.words import one_line
from palace_store.fixes import KNOWN

NAME = "ablation.md"
#: So many scenarios are named for one fix; results.jsonl has all.
_SHOWN_MAX = 3


def lines(found: Ablation, fixes: Sequence[str]) -> list[str]:
    """Return one line for each fix."""
    width = max(map(len, fixes), default=0)
    return [f"{fix:<{width}}  {one_line(verdict(found, fix))}" for fix in fixes]


def verdict(found: Ablation, fix: str) -> str:
    """Say by what a fix is needed, alone or together with another, or that nothing shows it."""
    if alone := found.shown((fix,)):
        return f"needed: {_spots(alone)}"
    pairs = [(pair, shown) for pair in found.pairs(fix) if (shown := found.shown(pair))]
    if pairs:
        return "needed where another is off: " + "; ".join(
            f"with {_others(pair, fix)} {_spots(shown[:1])}" for pair, shown in pairs
        )
    if not found.tried(fix):
        return "not tried: no scenario that was run has to do with it"
    why = f"; it stays: {KEPT[fix]}" if fix in KEPT else ""
    return f"not shown to be needed (0 of {found.tried(fix)} trials){why}"


def troubles(found: Ablation) -> list[str]:
    """Return what says nothing about a fix: failed controls, refusals, the lab's own errors."""
    said = [
        f"{spot.scenario} on {spot.release} fails with every fix on: {_count(spot)}"
        for spot in found.of(CONTROL)
        if spot.red
    ]
    said += [
        one_line(
            f"{spot.scenario} on {spot.release} without {_words(spot.removed)}: {spot.trouble}"
        )
        for spot in found.spots
        if spot.trouble
    ]
    return said


def write_ablation(found: Ablation, fixes: Sequence[str], directory: Path) -> Path:
    """Write ablation.md into a run's directory and return its path."""
    path = directory / NAME
    parts = ["# Palace Lab: ablation", "\n".join(_table(found, fixes))]
    if bad := troubles(found):
        parts.append("\n".join(f"- {escape(line)}" for line in bad))
    text = "\n\n".join([*parts, escape(machine())]) + "\n"
    path.write_text(text, encoding="utf-8", errors="backslashreplace")  # a path may be no UTF-8
    return path


def _table(found: Ablation, fixes: Sequence[str]) -> list[str]:
    head = ["| fix | what it is for | off |", "|---|---|---|"]
    return head + [
        f"| `{fix}` | {escape(KNOWN[fix])} | {escape(verdict(found, fix))} |" for fix in fixes
    ]


def _spots(spots: Sequence[Spot]) -> str:
    named = dict.fromkeys(spot.scenario for spot in spots)
    said = [
        f"{name} ({', '.join(_at(spot) for spot in spots if spot.scenario == name)})"
        for name in list(named)[:_SHOWN_MAX]
    ]
    more = len(named) - len(said)
    return ", ".join(said) + (f" and {more} more" if more else "")


def _at(spot: Spot) -> str:
    return f"{spot.release}: {_count(spot)}"


def _count(spot: Spot) -> str:
    return f"{'/'.join(spot.signatures)} {spot.failed}/{spot.tried}"


def _others(pair: Removal, fix: str) -> str:
    return ", ".join(each for each in pair if each != fix)


def _words(removed: Removal) -> str:
    return " and ".join(removed) or "nothing"
