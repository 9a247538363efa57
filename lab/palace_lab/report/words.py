"""How every report words a duration, a size, an interval and one arm's verdict.

Rules:
- Plain text without control characters: an error of the library under test may hold any, and a
  terminal would obey them.
- A bound is rounded away from what it promises: an upper one up, a lower one down.
- An outcome is named with its count wherever that differs from k.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from palace_lab.errors import ExitCode
from palace_lab.judge.results import ArmResult, Row
from palace_lab.judge.statistics import interval
from palace_lab.judge.verdict import Role, Verdict
from palace_store.fixes import KNOWN, Fixes

Tone = Literal["good", "told", "bad", "quiet"]

#: From this many trials on a fixed or as-reported arm is shown with its 95 % bound or interval.
BOUND_N_MIN = 20
#: A sentence is cut here in the reports for people; results.jsonl has all of it.
SENTENCE_CHARACTERS_MAX = 600

#: The end of a path that says what a file is and nothing about whose it is.
_TELLING = re.compile(r"[\w-]+\.(?:bin|json|jsonl|pickle|py|sqlite3)")
_IN_PATH = r"[^\s/'\"`:,;()<>|]"

#: Categories of characters that are not shown but obeyed, or are none alone.
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")

_MINUTE_S = 60
_KILO = 1000
_ONE_DIGIT_BELOW = 10

ARM_NAMES: dict[Role, str] = {
    "off": "off",
    "wrong": "guard",
    "as-reported": "as reported",
    "fixed": "fixed",
    "played": "played alone",
}

EXIT_MEANINGS: dict[ExitCode, str] = {
    ExitCode.PROMISED: "all as promised",
    ExitCode.VIOLATED: "a fixed arm was violated",
    ExitCode.USAGE: "usage or bad input",
    ExitCode.UNKNOWN: "unknown: an arm did something that decides nothing",
    ExitCode.HANG: "a fixed arm hung",
    ExitCode.LEAK: "something was left behind by a trial",
    ExitCode.VACUOUS: "vacuous or not reproduced: something that had to fail did not",
    ExitCode.REFUSED: "an environment was refused",
    ExitCode.GONE: "gone: the unfixed library held where it was expected to fail",
    ExitCode.INTERRUPTED: "interrupted",
}


def duration(seconds: float) -> str:
    """Return a time in words: "4.1 s", "3 m 12 s", "1 h 02 m"."""
    if round(seconds, 1) < _MINUTE_S:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), _MINUTE_S)
    hours, minutes = divmod(minutes, _MINUTE_S)
    return f"{hours} h {minutes:02} m" if hours else f"{minutes} m {rest:02} s"


def size(count: int) -> str:
    """Return a number of bytes in words, in powers of 1000."""
    units = ["B", "kB", "MB", "GB"]
    amount = float(count)
    while round(amount) >= _KILO and len(units) > 1:
        amount /= _KILO
        units.pop(0)
    digits = 1 if amount < _ONE_DIGIT_BELOW and units[0] != "B" else 0
    return f"{amount:.{digits}f} {units[0]}"


def one_line(text: str, *, characters_max: int = SENTENCE_CHARACTERS_MAX) -> str:
    """Return text as one line that any terminal or file can take: no control characters."""
    shown = "".join(_shown(character) for character in " ".join(text.split()))
    if len(shown) <= characters_max:
        return shown
    return f"{shown[:characters_max].rstrip()} … ({len(shown)} characters in all)"


def label(row: Row) -> str:
    """Return the name of a row's scenario, which begins with its system."""
    name = one_line(row.scenario)
    return name if name.startswith(f"{row.system}/") else f"{row.system} {name}"


def is_race(verdict: Verdict) -> bool:
    """Tell whether the trials were repeated until a sequential test decided.

    A race alone carries the interval that is valid under that stopping rule.
    """
    fixed_n = interval(verdict.k, verdict.n) if verdict.n else (0.0, 1.0)
    return not all(map(math.isclose, fixed_n, (verdict.low, verdict.high)))


def outcomes(verdict: Verdict) -> str:
    """Return what came of the trials that did not hold: "locked", or "a 3, b 2"."""
    shown = [(name, count) for name, count in verdict.outcomes if name != "held"]
    if len(shown) == 1 and shown[0][1] == verdict.k:
        return shown[0][0]
    return ", ".join(f"{name} {count}" for name, count in shown)


def bound(arm: ArmResult) -> str:
    """Return the 95 % bound or interval of an arm where it is worth showing, else ""."""
    verdict = arm.verdict
    if arm.role in ("off", "wrong"):
        return span(verdict) if verdict.n and is_race(verdict) else ""
    if verdict.n < BOUND_N_MIN:
        return ""
    if verdict.name == "HELD":
        return f"(≤ {_up(verdict.high):.1f} %)"
    return span(verdict)


def span(verdict: Verdict) -> str:
    """Return an interval in percent."""
    low, high = _down(verdict.low), _up(verdict.high)
    return f"({_whole(low, math.floor)}-{_whole(high, math.ceil)} %)"


def arm_words(arm: ArmResult) -> str:
    """Return what the table says of an arm: verdict, k/n, bound, outcomes."""
    verdict = arm.verdict
    name: str = verdict.name
    if arm.role == "wrong":
        name = "guard: caught" if name == "REPRODUCED" else f"guard: {name}"
    elif name == "OBSERVED":
        name = ""
    parts = (name, f"{verdict.k}/{verdict.n}", bound(arm), outcomes(verdict))
    return " ".join(part for part in parts if part)


def tone(arm: ArmResult) -> Tone:
    """Return how an arm is coloured: as promised, a published fix refuted, or bad."""
    if not arm.verdict.good:
        return "bad"
    if arm.role == "as-reported":
        return "told" if arm.verdict.k else "quiet"
    return "good"


def row_sentence(row: Row) -> str:
    """Return a whole row as one line of text."""
    name = f"{label(row)} {one_line(row.release)}"
    if row.refused:
        return f"{name}: REFUSED, {one_line(row.refused)}"
    said = [
        arm_words(arm) if arm.role == "wrong" else f"{ARM_NAMES[arm.role]} {arm_words(arm)}"
        for arm in row.arms
    ]
    return " · ".join([f"{name}: {said[0] if said else 'did not run'}", *said[1:]])


def shown_path(path: Path) -> str:
    """Return a path as a user would type it: from here if it is below, quoted for a shell."""
    absolute, here = os.path.abspath(path), os.getcwd()  # noqa: PTH100, PTH109 - a symlink such as `latest` stays as it was typed
    inside = os.path.commonpath((absolute, here)) == here
    shown = os.path.relpath(absolute, here) if inside else absolute
    return shlex.quote(f"./{shown}" if shown.startswith("-") else shown)  # no option


def without_paths(text: str, private: Iterable[Path] = ()) -> str:
    """Return text that names no place of this machine: of a path only what kind of file it was.

    `private` are places that are not shown even where they do not look like a path of two names.
    """
    named = sorted({str(each) for each in private if each.name}, key=len, reverse=True)
    starts = [rf"{re.escape(each)}(?![\w-])" for each in named]
    starts.append(rf"(?<![\w.…])~?/{_IN_PATH}+(?=/)")
    return re.sub(rf"(?:{'|'.join(starts)})(?:/{_IN_PATH}*)*", _shortened, text)


def _shortened(found: re.Match[str]) -> str:
    name = found[0].rpartition("/")[2]
    return f"…/{name}" if _TELLING.fullmatch(name) else "…"


def _shown(character: str) -> str:
    if unicodedata.category(character) in _UNSEEN or _is_noncharacter(ord(character)):
        return character.encode("unicode_escape").decode("ascii")
    return character


def _is_noncharacter(number: int) -> bool:
    """Tell whether this is the number of no character, and never will be: XML refuses some."""
    return number & 0xFFFE == 0xFFFE or 0xFDD0 <= number <= 0xFDEF  # noqa: PLR2004 (Unicode's)


def _up(probability: float) -> float:
    """Return percent with one decimal, rounded up. The inner rounding takes float noise away."""
    return math.ceil(round(probability * 1000, 6)) / 10


def _down(probability: float) -> float:
    return math.floor(round(probability * 1000, 6)) / 10


def _whole(percent: float, rounded: Callable[[float], int]) -> str:
    """Return percent without its decimal where that says nothing."""
    return f"{percent:.1f}" if 0 < percent < _ONE_DIGIT_BELOW else f"{rounded(percent)}"


def fix_words(fixes: Fixes) -> str:
    """Return in words which fixes are on, by the names of `palace_store.fixes`."""
    on = [f"`{word}`" for word in fixes.words()]
    off = [f"`{name}`" for name in KNOWN if not fixes.has(name)]
    if not on:
        return "none"
    if len(off) < len(on) and all(how == "on" for _, how in fixes.variants):
        return f"all but {', '.join(off)}" if off else "all"
    return f"only {', '.join(on)}"
