"""repro.md: what a reproduction gave, as Markdown that is pasted into the report it is about.

Rules:
- It stands alone: no link, no path of the machine it was made on, nothing that needs the run's
  directory. One plan goes with it in full, so that a reader can play that trial alone.
- Each interval is valid for how its trials came to an end (`restate`).
- What the library under test said may hold anything. It stands in fenced blocks, where Markdown,
  mentions and numbers of issues are left alone; all other text is escaped.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from palace_lab.judge.results import ArmResult, Row, RunResult
from palace_lab.judge.verdict import Role, restated
from palace_lab.report import facts
from palace_lab.report.summary import escape
from palace_lab.report.words import ARM_NAMES, fix_words, label, one_line, span, without_paths
from palace_lab.scenario import SQLITE
from palace_store.fixes import Fixes

NAME = "repro.md"
#: A longer plan is left out: GitHub takes 65,536 characters in one comment.
PLAN_CHARACTERS_MAX = 20_000
_SAID_MAX = 2
_MEANINGS: Mapping[Role, str] = {
    "off": "the fixes in question switched off, or all of them",
    "wrong": "a deliberately wrong variant, which the check must catch",
    "as-reported": "the fix as the report describes it",
    "fixed": "every fix of the lab's own library on",
}
_SEEN: Mapping[Role, str] = {
    "off": "with the fixes switched off it failed as listed in",
    "wrong": "a deliberately wrong variant was caught in",
    "as-reported": "with the published fix it failed in",
    "fixed": "with every fix on it failed in",
}


@dataclass(frozen=True)
class Reproduction:
    """What was done, apart from its result. All text is taken as it is, and made harmless here."""

    report: str
    title: str
    command: str  # which does the same again
    made_with: tuple[str, ...]  # versions and machine, a line each
    directory: Path  # of the run
    private: tuple[Path, ...] = ()  # places whose names stay on this machine
    n_given: int | None = None  # trials of each arm, if that was fixed beforehand
    fixes: Mapping[str, Mapping[Role, Fixes]] = field(default_factory=dict)  # of each scenario


def restate(result: RunResult, n_given: int | None) -> RunResult:
    """Return the result with intervals that hold for how the trials of each arm ended."""

    def restated_arm(arm: ArmResult) -> ArmResult:
        n_fixed = n_given is not None and arm.verdict.n == n_given
        return replace(arm, verdict=restated(arm.verdict, n_fixed=n_fixed))

    return replace(
        result,
        rows=tuple(
            replace(row, arms=tuple(restated_arm(arm) for arm in row.arms)) for row in result.rows
        ),
    )


def write_repro(result: RunResult, made: Reproduction) -> str:
    """Write repro.md into the run's directory and return its text."""
    text = repro_text(result, made)
    (made.directory / NAME).write_text(text, encoding="utf-8", errors="backslashreplace")
    return text


def repro_text(result: RunResult, made: Reproduction) -> str:
    """Return the Markdown of a reproduction."""
    ending = facts.ending(result)
    parts = [
        f"## {_plain(made.report)}: {_plain(made.title)}",
        f"**Not all is as promised ({_plain(ending)}).**" if ending else "",
        _not_got_to(result),
        *(part for row in result.rows for part in _row(row, made)),
        _legend(result, made),
        _made_with(made),
        (
            f"The same again, in a checkout of Palace Lab (`python3 lab/bootstrap.py` in place of "
            f"`palace-lab` where that is not installed):\n\n{_fenced(made.command, 'sh')}"
        ),
        _one_trial(result, made),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _row(row: Row, made: Reproduction) -> Iterator[str]:
    yield f"### {_plain(label(row))} on {_release(row)}"
    yield _plain(row.sentence)
    if arms := made.fixes.get(row.scenario):
        told = (f"{ARM_NAMES[role]}: {fix_words(fixes)}" for role, fixes in arms.items())
        yield f"Fixes of the library in each arm: {' · '.join(told)}."
    if row.refused:
        yield "It did not run here:"
        yield _fenced(_harmless(row.refused, made))
        return
    yield f"**Seen:** {'; '.join(map(_seen, row.arms))}."
    yield _table(row)
    said = [line for arm in row.arms for line in _said(arm, made)]
    if said:
        yield "What the checks said first:"
        yield _fenced("\n".join(said))


def _seen(arm: ArmResult) -> str:
    verdict = arm.verdict
    bad = "" if verdict.good else f" ({verdict.name})"
    return f"{_SEEN[arm.role]} {verdict.k} of {verdict.n} trials{_failures(arm)}{bad}"


def _failures(arm: ArmResult) -> str:
    names = [name for name, _ in arm.verdict.outcomes if name not in ("held", "not-reached")]
    return f" ({escape(', '.join(map(one_line, names)))})" if names else ""


def _table(row: Row) -> str:
    lines = [
        "| arm | verdict | k/n | 95 % interval | outcomes | median |",
        "|---|---|---:|---:|---|---:|",
    ]
    for arm in row.arms:
        verdict = arm.verdict
        median = statistics.median(trial.seconds for trial in arm.trials) if arm.trials else None
        outcomes = ", ".join(f"{one_line(name)} {count}" for name, count in verdict.outcomes)
        cells = (
            ARM_NAMES[arm.role],
            verdict.name,
            f"{verdict.k}/{verdict.n}",
            span(verdict).strip("()"),
            escape(outcomes) or "-",
            "-" if median is None else f"{median:.1f} s",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _said(arm: ArmResult, made: Reproduction) -> Iterator[str]:
    reason = arm.verdict.reason
    sentences = [each.sentence for trial in arm.trials for each in facts.telling_first(trial)]
    told = (_harmless(sentence, made) for sentence in [reason, *sentences] if sentence)
    for sentence in list(dict.fromkeys(told))[:_SAID_MAX]:
        yield f"{ARM_NAMES[arm.role]}: {sentence}"


def _legend(result: RunResult, made: Reproduction) -> str:
    roles = dict.fromkeys(arm.role for row in result.rows for arm in row.arms)
    lines = [f"- {ARM_NAMES[role]}: {_MEANINGS[role]}" for role in roles]
    if not lines:
        return ""
    n = made.n_given
    whole = all(arm.verdict.n == n for row in result.rows for arm in row.arms)
    if n is not None and whole:
        how = f"Trials of each arm: {n}, fixed beforehand; the intervals are exact."
    elif n is not None:
        how = f"Of the {n} trials of each arm some were not made; the intervals hold all the same."
    elif all(arm.verdict.n <= result.trials_off for row in result.rows for arm in row.arms):
        how = (
            f"An arm has {result.trials_off} trials, or fewer where the time was over; the "
            "intervals hold whenever one stops."
        )
    else:
        how = (
            f"An arm's trials ended when a sequential test had decided, after {result.trials_off} "
            "at the earliest, or when the time was over; the intervals hold whenever one stops."
        )
    legend = f"k/n: failed of tried. {how} Median: seconds a trial."
    return "\n".join([legend + _shortened(result, made), "", *lines])


def _shortened(result: RunResult, made: Reproduction) -> str:
    """Return what there is to say of plans that have the library wait less than it would."""
    trials = [trial for row in result.rows for arm in row.arms for trial in arm.trials]
    plans = (made.directory / trial.plan for trial in trials if trial.plan)
    found = (json.loads(plan.read_text(encoding="utf-8")) for plan in plans if plan.is_file())
    scales = sorted({float(plan.get("time_scale", 1.0)) for plan in found} - {1.0})
    if not scales:
        return ""
    words = " or ".join(f"{scale:g}" for scale in scales)
    return f" Waits of the library are shortened to {words} of their length (time_scale)."


def _made_with(made: Reproduction) -> str:
    lines = [f"- {_plain(without_paths(line, made.private))}" for line in made.made_with]
    return "\n".join(["Made with:", "", *lines])


def _one_trial(result: RunResult, made: Reproduction) -> str:
    """Return a plan in full with the line that plays it, and the hash of its text."""
    trials = [trial for row in result.rows for arm in row.arms for trial in arm.trials]
    trial = next((each for each in trials if each.signature and not each.lab_error), None)
    if trial is None:
        return ""
    plan = (made.directory / trial.plan).read_text(encoding="utf-8")
    where = f"{one_line(trial.scenario)}, {trial.arm}, trial {trial.index}, seed {trial.seed}"
    head = f"One trial alone ({_plain(where)}); its plan has the SHA-256 `{trial.plan_sha256}`"
    if len(plan) > PLAN_CHARACTERS_MAX:
        return f"{head}. The plan is too long to stand here."
    if trial.release == SQLITE:
        ran = _plain(json.loads(plan)["release"])
        head += f". It needs no chromadb, and ran in the environment of {ran}"
    played = _fenced(f"palace-lab replay /dev/stdin <<'PLAN'\n{plan}PLAN", "sh")
    return (
        f"<details>\n<summary>The plan of one trial</summary>\n\n{head}:\n\n{played}\n\n</details>"
    )


def _not_got_to(result: RunResult) -> str:
    why = "It was interrupted" if result.interrupted else "The time was over"
    names = [f"- {_plain(name)}" for name in result.unfinished]
    return "\n".join([f"{why} before these were decided:", "", *names]) if names else ""


def _release(row: Row) -> str:
    return "SQLite" if row.release == SQLITE else f"chromadb {_plain(row.release)}"


def _plain(text: str) -> str:
    return escape(one_line(text))


def _harmless(text: str, made: Reproduction) -> str:
    return one_line(without_paths(text, made.private))


def _fenced(text: str, language: str = "text") -> str:
    """Return text as a block that nothing in it can close."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
