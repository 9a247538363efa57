"""What is said of a night: one line of what is new, and what is not as promised.

Rules: the line is one line, whatever names and errors hold, and of bounded length: failures with
all fixes on come first, and what does not fit is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from palace_lab.called import called
from palace_lab.errors import ExitCode
from palace_lab.judge.night import NightResult
from palace_lab.judge.results import RunResult
from palace_lab.report import facts
from palace_lab.report.night_ledger import Entry, News
from palace_lab.report.summary import escape
from palace_lab.report.words import EXIT_MEANINGS, duration, one_line, shown_path, size

_NAMED_MAX = 4
_UNSEEN_MAX = 12
_NAME_CHARACTERS_MAX = 120
#: What an entry of the ledger weighs in the line of news.
_WEIGHT = {"fixed": 0, "canary": 1, "as-reported": 3}


def headline(result: NightResult, news: News) -> str:
    """Return the night in one line: what is new since the last one, and the counts."""
    parts = [_new(news), _gone(news)]
    found, unseen = len(result.bugs(found=True)), len(result.bugs(found=False))
    bugs = f"{found} of {found + unseen} off bugs found"
    canary = f"canary {result.canary.failed}/{result.canary.tried}"
    counts = [
        f"{result.trials} trials in {duration(result.seconds)}",
        bugs,
        canary,
        f"{size(result.written_bytes)} written",
    ]
    code = result.exit_code
    if result.left_out:
        counts.append(f"{result.left_out} rows left out")
    if result.cut_short:
        counts.append(f"cut short: {one_line(result.cut_short)}")
    if code is not ExitCode.PROMISED:
        counts.append(f"exit code {int(code)}: {EXIT_MEANINGS[code]}")
    return "; ".join([*(part for part in parts if part), ", ".join(counts)])


def unseen(result: NightResult) -> str:
    """Return which bugs this night has not found yet, "" if it found all."""
    names = result.bugs(found=False)
    return f"not found yet: {_some(names, _UNSEEN_MAX)}" if names else ""


def red_blocks(result: NightResult, directory: Path) -> list[facts.Block]:
    """Return everything that is not as promised, each with a line that plays it again."""
    red = RunResult(
        rows=tuple(result.red_rows()),
        profile="soak",
        seed=0,
        trials_off=0,
        trials_fixed=0,
        seconds=result.seconds,
        leaks=result.leaks,
    )
    found = facts.blocks(red, directory)
    canary = result.canary
    if canary.silent(result.fixed_trials):
        said = (
            f"{canary.tried - canary.failed} of {canary.tried} held on a library that must fail"
            if canary.tried
            else "none was tried: nobody knows what this night would have noticed"
        )
        found.append(facts.Block("the canary is silent", (said,)))
    return found


def ledger_page(entries: Sequence[Entry], folder: Path) -> str:
    """Return the ledger as a page: each failure, and the command that shows it fastest."""
    lines = [
        "# Every failure seen, and the seed that shows it fastest",
        "",
        "| failure | times | first night | last night | fastest | median | seed | see it again |",
        "|---|---:|---|---|---:|---:|---:|---|",
    ]
    for each in entries:
        again = f"`{called()} replay {shown_path(folder / each.plan)}`" if each.plan else "-"
        cells = [
            escape(_name(each)),
            str(each.count),
            escape(_short(each.first_seen)),
            escape(_short(each.last_seen)),
            duration(each.fastest_s),
            duration(each.median_s),
            str(each.seed),
            again.replace("|", "\\|"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _new(news: News) -> str:
    entries = sorted(news.new, key=lambda each: (_WEIGHT.get(each.arm, 2), each.key))
    named = [f"{_name(each)} (seed {each.seed})" for each in entries]
    alarming = [each for each in entries if each.arm == "fixed"]
    if news.first_night:
        first = f"first night: {len(entries)} failures noted"
        shown = _some(named[: len(alarming)])
        return f"{first}, of them with all fixes on: {shown}" if alarming else first
    return f"new: {_some(named)}" if entries else "nothing new"


def _gone(news: News) -> str:
    named = [f"{_cell(*cell)} (0 of {n})" for *cell, n in news.gone]
    return f"not seen again: {_some(named)}" if named else ""


def _name(entry: Entry) -> str:
    return f"{_cell(entry.scenario, entry.release, entry.arm)} {_short(entry.signature)}"


def _cell(scenario: str, release: str, arm: str) -> str:
    where = f"{_short(scenario)} on {_short(release)}"
    return where if arm == "off" else f"{where} ({_short(arm)})"


def _some(names: Sequence[str], most: int = _NAMED_MAX) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _short(text: str) -> str:
    return one_line(text, characters_max=_NAME_CHARACTERS_MAX)
