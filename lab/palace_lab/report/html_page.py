"""report.html: the first page a person looks at, in one file that needs no network and no server.

Rules:
- The matrix is there without JavaScript. Choosing a trial (`#<name of its plan>`) is not.
- Its words are those of the table and the facts; nothing is judged here.
- Text of the library under test may hold anything: the template escapes all of it, the data is
  JSON that cannot end its element, the script makes text of it only, and the page allows itself
  no script but its own.
- Of an arm it shows the first trial, and one of each other outcome. With many, it leaves out lanes
  before it grows beyond `LANES_BYTES_MAX` and some: the arms that are not as promised come first.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import msgspec

from palace_lab.errors import LabError
from palace_lab.history.merge import read_jsonl
from palace_lab.judge.results import ArmResult, Row, RunResult, TrialRecord
from palace_lab.report import facts
from palace_lab.report.html_lanes import Lanes, lanes_of
from palace_lab.report.summary import machine
from palace_lab.report.table import Cell, header, table, unbroken
from palace_lab.report.words import ARM_NAMES, arm_words, duration, label, one_line, tone

NAME = "report.html"
#: Trials of one arm on the page.
SHOWN_MAX = 4
#: Contradictions of one trial on the page.
VIOLATIONS_MAX = 12
#: Bytes of JSON that all lanes of a page may have together.
LANES_BYTES_MAX = 2_500_000

_PARTS = Path(__file__).parent / "html"
_SYMBOLS = {"good": "✓", "told": "!", "bad": "✗", "quiet": "·"}
_UNKNOWN, _FAILED = 2, 1
#: Faults that the sentence about a trial names.
_FAULTS_MAX = 3


def write_page(result: RunResult, directory: Path) -> Path:
    """Write report.html into a run's directory and return its path."""
    path = directory / NAME
    text = page_text(result, directory)
    path.write_text(text, encoding="utf-8", errors="backslashreplace")  # a path may be no UTF-8
    return path


def page_text(result: RunResult, directory: Path) -> str:
    """Return the page."""
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FileSystemLoader(_PARTS),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    script = "".join(part.read_text(encoding="utf-8") for part in sorted(_PARTS.glob("*.js")))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    matrix = _matrix(result.rows)
    return environment.get_template("page.html").render(
        style=(_PARTS / "page.css").read_text(encoding="utf-8"),
        script=script,
        digest=digest,
        title=f"Palace Lab: {directory.resolve().name}",
        run=directory.resolve().name,
        tally=facts.tally(result),
        ending=facts.ending(result),
        rests_on=facts.rests_on(result),
        small_print=[facts.slowest(result), machine()],
        head=header(result.rows),
        rows=matrix,
        systems=sorted({row.system for row in result.rows}),
        verdicts=sorted({word for row in matrix for word in row["verdicts"]}),
        blocks=facts.blocks(result, directory),
        data=_data(result, directory),
    )


def trial_id(trial: TrialRecord) -> str:
    """Return how a page names a trial: as its plan is named."""
    return Path(trial.plan).stem


def shown(arm: ArmResult) -> list[TrialRecord]:
    """Return the trials of an arm that a page shows, in the order of their numbers."""
    chosen = {trial.index: trial for trial in arm.trials[:1]}
    first_of: dict[str | None, TrialRecord] = {}
    for trial in sorted(arm.trials, key=lambda each: not each.history):
        first_of.setdefault(trial.signature, trial)
    telling = facts.telling(arm)
    for trial in ([] if telling is None else [telling]) + list(first_of.values()):
        if len(chosen) < SHOWN_MAX:
            chosen[trial.index] = trial
    return [trial for _, trial in sorted(chosen.items())]


def _matrix(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [
        {
            "system": row.system,
            "sentence": one_line(row.sentence),
            "refused": one_line(row.refused),
            "guard": row.is_guard,
            "good": row.good and bool(row.arms),
            "verdicts": _verdicts(row),
            "cells": [_cell(row, cell) for cell in cells],
        }
        for row, cells in zip(rows, table(rows), strict=True)
    ]


def _verdicts(row: Row) -> list[str]:
    if row.refused or not row.arms:
        return ["REFUSED" if row.refused else "did not run"]
    return [arm.verdict.name for arm in row.arms]


def _cell(row: Row, cell: Cell) -> dict[str, Any]:
    arm = None if cell.role is None else row.arm(cell.role)
    telling = None if arm is None else _first_shown(arm)
    about = arm is not None or cell.tone == "bad"
    return {
        "text": unbroken(cell.text),
        "tone": cell.tone,
        "symbol": _SYMBOLS[cell.tone] if about else "",
        "link": "" if telling is None else trial_id(telling),
    }


def _first_shown(arm: ArmResult) -> TrialRecord | None:
    """Return the trial that an arm's cell leads to."""
    failed = [trial for trial in shown(arm) if trial.signature]
    good = arm.verdict.good
    return next(iter([*failed, *shown(arm)]), None) if good else facts.telling(arm)


def _data(result: RunResult, directory: Path) -> dict[str, Any]:
    places = [
        (number, place, trial)
        for number, row in enumerate(result.rows)
        for place, arm in enumerate(row.arms)
        for trial in shown(arm)
    ]
    room = LANES_BYTES_MAX
    trials: dict[str, Any] = {}
    for number, place, trial in sorted(places, key=lambda each: _later(result, *each)):
        lanes, why = _lanes(trial, directory)
        if lanes is not None and (room := room - len(msgspec.json.encode(lanes))) < 0:
            lanes, why = None, f"left out to keep the page small: see {trial.history}"
        trials[trial_id(trial)] = {
            **_trial(trial, lanes, directory),
            "row": number,
            "arm": place,
            "lanes": msgspec.to_builtins(lanes),
            "why": why,
        }
    return {"rows": [_row(row) for row in result.rows], "trials": trials}


def _later(result: RunResult, number: int, place: int, trial: TrialRecord) -> tuple[bool, bool]:
    """Return what puts a trial behind others when the room is short."""
    arm = result.rows[number].arms[place]
    return arm.verdict.good, trial is not _first_shown(arm)


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": label(row),
        "release": one_line(row.release),
        "sentence": one_line(row.sentence),
        "arms": [
            {
                "name": ARM_NAMES[arm.role],
                "words": arm_words(arm),
                "reason": one_line(arm.verdict.reason),
                "tone": tone(arm),
                "trials": [trial_id(trial) for trial in shown(arm)],
            }
            for arm in row.arms
        ],
    }


def _trial(trial: TrialRecord, lanes: Lanes | None, directory: Path) -> dict[str, Any]:
    said = trial.violations[:VIOLATIONS_MAX]
    return {
        "index": trial.index,
        "outcome": trial.signature or ("held" if trial.reached else "not-reached"),
        "sentence": _sentence(trial, lanes),
        "violations": [[each.check, each.signature, one_line(each.sentence)] for each in said],
        "more": len(trial.violations) - len(said),
        "trouble": one_line(trial.lab_error),
        "goals": [[one_line(goal), reached] for goal, reached in trial.goals.items()],
        "exits": [[one_line(name), one_line(how)] for name, how in trial.exits.items()],
        "replay": facts.replay(trial, directory),
        "plan": trial.plan,
        "history": trial.history,
    }


def _lanes(trial: TrialRecord, directory: Path) -> tuple[Lanes | None, str]:
    if not trial.history:
        return None, "no history was kept of this trial; replay it to see it again"
    path = directory / trial.history
    if not path.resolve().is_relative_to(directory.resolve()):
        return None, "its history is not in this run's directory"
    try:
        return lanes_of(read_jsonl(path), trial.exits.keys()), ""
    except LabError as error:
        return None, one_line(str(error))


def _sentence(trial: TrialRecord, lanes: Lanes | None) -> str:
    """Return what a trial did, as far as that fits into a sentence or two."""
    lasted = f"It took {duration(trial.seconds)}; its seed is {trial.seed}."
    if lanes is None:
        return lasted
    made = lanes.calls()
    failed = sum(call[3] == _FAILED for call in made)
    unknown = sum(call[3] == _UNKNOWN for call in made)
    writers = sum(lane.by == "plan" for lane in lanes.lanes)
    who, calls = (
        _many(writers, "process", "processes"),
        _many(len(made) + lanes.left, "call", "calls"),
    )
    did = lanes.faults()
    words = "; ".join(did[:_FAULTS_MAX]) + ("; and more" if len(did) > _FAULTS_MAX else "")
    lookers = _many(lanes.lookers, "fresh process", "fresh processes")
    parts = [
        f"{who} of the plan made {calls}: {failed} failed, {unknown} unknown.",
        f"The lab: {words}." if did else "",
        f"{lookers} looked at what was left." if lanes.lookers else "",
        lasted,
    ]
    return " ".join(part for part in parts if part)


def _many(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"
