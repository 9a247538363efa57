"""Annotations: what GitHub shows beside the code, at the line where the scenario begins.

Rules. They are printed where GitHub runs us and nowhere else. GONE is a warning, since it may be
good news; whatever else is not as promised is an error, a refused row too. The worst come first,
because GitHub shows ten of each kind and no more; the last of ten says what is missing. Text of the
library under test is escaped, so that it can be no command.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from palace_lab.catalog import Listed
from palace_lab.errors import ExitCode
from palace_lab.judge.results import WORST_FIRST, ArmResult, Row, RunResult
from palace_lab.report import facts
from palace_lab.report.words import ARM_NAMES, arm_words, label, one_line

#: What GitHub shows of each kind for one step.
SHOWN_MAX = 10

Kind = Literal["error", "warning"]


@dataclass(frozen=True)
class Annotation:
    """One annotation; `scenario` is "" where it is about the whole run."""

    code: ExitCode
    title: str
    lines: tuple[str, ...]
    scenario: str = ""

    @property
    def kind(self) -> Kind:
        """Return how GitHub is to show it."""
        return "warning" if self.code is ExitCode.GONE else "error"


def wanted(environ: Mapping[str, str]) -> bool:
    """Tell whether this runs where annotations are read."""
    return environ.get("GITHUB_ACTIONS") == "true"


def commands(result: RunResult, directory: Path, scenarios: Iterable[Listed]) -> list[str]:
    """Return the lines to print, none if everything is as promised; the worst first.

    `directory` is the run's, `scenarios` the ones it has rows of. A file that lies outside of
    what GitHub has checked out is not named.
    """
    paths = {each.name: each.path for each in scenarios}
    found = sorted(_found(result, directory), key=lambda each: WORST_FIRST.index(each.code))
    lines = []
    for kind in ("error", "warning"):
        these = [each for each in found if each.kind == kind]
        more = len(these) - SHOWN_MAX
        shown = these[: SHOWN_MAX - 1] if more > 0 else these
        lines += [_command(each, paths.get(each.scenario)) for each in shown]
        if more > 0:
            lines.append(f"::{kind} title=palace-lab::and {more + 1} more, in the job's summary")
    return lines


def line_of(path: Path) -> int:
    """Return the line on which a file binds `scenario`; 1 if it does not say it plainly."""
    for node in ast.parse(path.read_bytes()).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(each, ast.Name) and each.id == "scenario" for each in targets):
            return node.lineno
    return 1


def _found(result: RunResult, directory: Path) -> Iterator[Annotation]:
    for row in result.rows:
        name = f"{label(row)} {one_line(row.release)}"
        for arm in row.arms:
            if not arm.verdict.good:
                title = f"{name} {ARM_NAMES[arm.role]}"
                said = tuple(_said(arm, directory))
                yield Annotation(arm.verdict.exit_code, title, said, row.scenario)
        if row.refused or not row.arms:
            yield _without_arms(row, name)
    for leak in result.leaks:
        yield Annotation(ExitCode.LEAK, "left behind", (one_line(leak),))
    if result.interrupted:
        told = f"not got to: {', '.join(map(one_line, result.unfinished)) or 'nothing'}"
        yield Annotation(ExitCode.UNKNOWN, "interrupted", (told,))
    if not result.rows:
        yield Annotation(ExitCode.VACUOUS, "no row", ("the run has no row, so it shows nothing",))


def _without_arms(row: Row, name: str) -> Annotation:
    why = f"REFUSED: {one_line(row.refused)}" if row.refused else "did not run"
    return Annotation(ExitCode.REFUSED, name, (why,), row.scenario)


def _said(arm: ArmResult, directory: Path) -> Iterator[str]:
    reason = one_line(arm.verdict.reason)
    yield f"{arm_words(arm)}; {reason}" if reason else arm_words(arm)
    yield from facts.sentences(arm)[: facts.SENTENCES_MAX]
    if again := facts.command(arm, directory):
        yield f"see it again, alone: {again}"


def _command(annotation: Annotation, path: Path | None) -> str:
    properties = {"title": annotation.title}
    root = Path(os.environ.get("GITHUB_WORKSPACE") or Path.cwd()).resolve()
    if path is not None and root in path.resolve().parents:
        file = path.resolve().relative_to(root).as_posix()
        properties = {"file": file, "line": str(line_of(path)), **properties}
    said = ",".join(f"{name}={_escaped(text, ':,')}" for name, text in properties.items())
    return f"::{annotation.kind} {said}::{_escaped(chr(10).join(annotation.lines))}"


def _escaped(text: str, more: str = "") -> str:
    """Return text as GitHub's commands carry it; `%` first, for the others put some in."""
    for character in f"%\r\n{more}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text
