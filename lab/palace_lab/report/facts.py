"""What stands around the table: what it rests on, what went wrong and how to see it again alone.

Rules: a row that is as promised says nothing here. A row that is not gets its verdicts with their
reasons, the first contradictions, and exactly one line to paste that replays one trial of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from palace_lab.called import called
from palace_lab.errors import ExitCode
from palace_lab.judge.results import ArmResult, Row, RunResult, TrialRecord, ViolationRecord
from palace_lab.report.words import (
    ARM_NAMES,
    EXIT_MEANINGS,
    arm_words,
    duration,
    label,
    one_line,
    shown_path,
    size,
)

#: How many different contradictions of one arm the reports for people show.
SENTENCES_MAX = 3
#: Files and folders of a run's directory, in the order they are named.
FILES = (
    "report.html",
    "summary.md",
    "repro.md",
    "junit.xml",
    "results.jsonl",
    "plans",
    "histories",
)

#: Verdicts about something that did not happen, or not every time.
_NOTHING_HAPPENED = ("GONE", "VACUOUS", "FLAKY")
_WORST_ROLES = ("fixed", "played", "off", "wrong", "as-reported")


@dataclass(frozen=True)
class Block:
    """A title, sentences, and at most one command to paste."""

    title: str
    lines: tuple[str, ...]
    command: str = ""


def rests_on(result: RunResult) -> str:
    """Return what the table rests on: profile, trials an arm, seed."""
    if _is_alone(result):
        return f"one plan, played alone {result.trials_fixed} times · k/n: failed of tried"
    races = ", races until decided" if result.until_decided else ""
    return (
        f"profile {result.profile}: {result.trials_off} trials of each arm that must fail, "
        f"{result.trials_fixed} of each fixed arm{races} · k/n: failed of tried · "
        f"seed {result.seed}"
    )


def counts(result: RunResult, directory: Path) -> str:
    """Return the one line that says how the run went, and where to read more."""
    pages = [page for name in FILES[:2] if (page := directory / name).exists()]
    return f"{tally(result)} · {shown_path(next(iter(pages), directory))}"


def tally(result: RunResult) -> str:
    """Return how the run went, in numbers."""
    proofs = [_good(row) for row in result.rows if not row.is_guard]
    guards = [_good(row) for row in result.rows if row.is_guard]
    refused = sum(1 for row in result.rows if row.refused)
    if _is_alone(result):
        trials = result.trials()
        failed = sum(1 for trial in trials if trial.signature)
        return f"{failed} of {len(trials)} failed · {duration(result.seconds)}"
    return (
        f"{_share(proofs, 'proof')} reproduced and held, {_share(guards, 'guard')} held, "
        f"{refused} refused · {duration(result.seconds)} · {size(result.written_bytes)} written"
    )


def ending(result: RunResult) -> str:
    """Return what the exit code means, or "" when everything is as promised."""
    code = result.exit_code
    if code is ExitCode.VIOLATED and _is_alone(result):
        return f"exit code {int(code)}: a check found a contradiction"
    return "" if code is ExitCode.PROMISED else f"exit code {int(code)}: {EXIT_MEANINGS[code]}"


def blocks(result: RunResult, directory: Path) -> list[Block]:
    """Return everything that is not as promised, row by row, then what concerns the run."""
    found = [
        _bad_row(row, directory)
        for row in result.rows
        if any(not arm.verdict.good for arm in row.arms)
    ]
    refused = [row for row in result.rows if row.refused]
    reasons = dict.fromkeys(one_line(row.refused) for row in refused)
    for reason in reasons:
        names = tuple(_named(row) for row in refused if one_line(row.refused) == reason)
        found.append(Block(f"refused: {reason}", names))
    if absent := tuple(_named(row) for row in result.rows if not row.arms and not row.refused):
        found.append(Block("did not run", absent))
    if result.leaks:
        found.append(Block("left behind", tuple(one_line(leak) for leak in result.leaks)))
    if result.interrupted:
        rest = tuple(one_line(name) for name in result.unfinished)
        found.append(Block("interrupted; not got to", rest or ("nothing: every row is complete",)))
    elif result.unfinished:
        found.append(Block("out of time; not got to", tuple(map(one_line, result.unfinished))))
    return found


def slowest(result: RunResult) -> str:
    """Return which trial took longest, or "" if there was none."""
    record = max(result.trials(), key=lambda trial: trial.seconds, default=None)
    if record is None:
        return ""
    return (
        f"slowest trial: {one_line(record.scenario)} {one_line(record.release)} {record.arm} "
        f"number {record.index}, {duration(record.seconds)}"
    )


def files(directory: Path) -> str:
    """Return which report files a run's directory has."""
    there = [name for name in FILES if (directory / name).exists()]
    return f"report files in {shown_path(directory)}: {', '.join(there) or 'none yet'}"


def sentences(arm: ArmResult) -> list[str]:
    """Return the different contradictions of an arm that is not good, in the order of its trials.

    None where the trouble is that something did not happen: what did happen was expected.
    """
    if arm.verdict.name in _NOTHING_HAPPENED:
        return []
    said: dict[str, None] = {}
    for trial in arm.trials:
        if trial.lab_error not in ("", arm.verdict.reason):
            said.setdefault(f"the lab itself: {one_line(trial.lab_error)}")
        for violation in telling_first(trial):
            said.setdefault(f"{one_line(violation.sentence)} [{violation.signature}]")
    return list(said)


def telling_first(trial: TrialRecord) -> list[ViolationRecord]:
    """Return a trial's contradictions, those of the name it counts as before the others."""
    return sorted(trial.violations, key=lambda each: each.signature != trial.signature)


def command(arm: ArmResult, directory: Path) -> str:
    """Return the line that replays the trial of an arm that shows best what is wrong with it."""
    trial = telling(arm)
    return "" if trial is None or not trial.plan else replay(trial, directory)


def replay(trial: TrialRecord, directory: Path) -> str:
    """Return the line that replays one trial."""
    return f"{called()} replay {shown_path(directory / trial.plan)}"


def telling(arm: ArmResult) -> TrialRecord | None:
    """Return the trial of an arm that shows best what is wrong with it."""
    name = arm.verdict.name
    if any(trial.lab_error for trial in arm.trials) and name != "VIOLATED":
        return next(trial for trial in arm.trials if trial.lab_error)
    if name == "VACUOUS":
        odd = [trial for trial in arm.trials if not trial.reached]
    elif name in ("FLAKY", "UNKNOWN"):
        often = Counter(trial.signature for trial in arm.trials)
        odd = sorted(arm.trials, key=lambda trial: often[trial.signature])
    elif name in ("GONE", "NOT REPRODUCED"):
        odd = [trial for trial in arm.trials if trial.signature is None]
    else:
        odd = [trial for trial in arm.trials if trial.signature and not trial.lab_error]
    # A soak keeps the plans of some of its trials only.
    return next((trial for trial in [*odd, *arm.trials] if trial.plan), None)


def _bad_row(row: Row, directory: Path) -> Block:
    bad = [arm for arm in row.arms if not arm.verdict.good]
    bad.sort(key=lambda arm: _WORST_ROLES.index(arm.role))
    commands = [line for arm in bad if (line := command(arm, directory))]
    lines = tuple(line for arm in bad for line in _arm_lines(arm))
    return Block(_named(row), lines, commands[0] if commands else "")


def _arm_lines(arm: ArmResult) -> Iterator[str]:
    words = arm_words(arm)
    start = words if arm.role == "wrong" else f"{ARM_NAMES[arm.role]}: {words}"
    yield f"{start}; {one_line(arm.verdict.reason)}" if arm.verdict.reason else start
    said = sentences(arm)
    yield from (f"- {sentence}" for sentence in said[:SENTENCES_MAX])
    if len(said) > SENTENCES_MAX:
        yield f"- and {len(said) - SENTENCES_MAX} more in results.jsonl"


def _is_alone(result: RunResult) -> bool:
    return any(arm.role == "played" for row in result.rows for arm in row.arms)


def _named(row: Row) -> str:
    return f"{label(row)} {one_line(row.release)}"


def _good(row: Row) -> bool:
    return row.good and bool(row.arms)


def _share(good: list[bool], what: str) -> str:
    plural = what if len(good) == 1 else f"{what}s"
    if all(good):
        return f"{len(good)} {plural}"
    return f"{sum(good)} of {len(good)} {plural}"
