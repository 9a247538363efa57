"""What checks judge: what processes were told, and what fresh processes then saw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any, Literal

from palace_lab.checks.expected import NOTHING, Expectation, expect
from palace_lab.history.merge import Call
from palace_lab.plan.model import Plan
from palace_lab.processes.exits import Exit

#: Targets that are about texts, which are numbered apart from drawers.
OF_TEXTS = frozenset({"texts", "vectors"})
#: The process that reads the files after the observers.
SURVEY_AFTER = "survey-after"

LookPhase = Literal["ok", "fail", "info", "died", "hung"]


@dataclass(frozen=True)
class Look:
    """One question an observer was asked, and what came of it."""

    stage: str
    phase: LookPhase
    value: Any
    error: str
    seconds: float
    ended_ns: int = 0  # when the answer came, on the history's clock


@dataclass(frozen=True)
class Observation:
    """One fresh process that opened the palace and was asked; its death is an answer too."""

    observer: str
    looks: tuple[Look, ...]
    ended: Exit | None
    process: str = ""  # its name in the history

    def value(self, stage: str) -> Any | None:
        """Return the answer to one question, or None if there was none."""
        for look in self.looks:
            if look.stage == stage and look.phase == "ok":
                return look.value
        return None

    def when(self, stage: str) -> int:
        """Return when one question was answered, on the history's clock; 0 if it was not."""
        return max((look.ended_ns for look in self.looks if look.stage == stage), default=0)


@dataclass(frozen=True)
class Baseline:
    """The same questions asked of a healthy palace of that size in the same run."""

    seconds: dict[str, float]  # by observer: from opening to the last answer
    allocated_bytes: int


@dataclass(frozen=True)
class Evidence:
    """Everything known of one trial."""

    plan: Plan
    calls: tuple[Call, ...]
    expected: Expectation
    observations: tuple[Observation, ...]
    surveys: dict[str, dict[str, Any]]  # "before" and "after" the observers
    exits: dict[str, Exit]
    hangs: tuple[tuple[str, str, float], ...]  # process, operation, seconds waited
    baseline: Baseline | None = None
    answers: tuple[tuple[str, str, Any], ...] = ()  # process, operation, value: as they came
    died_ns: Mapping[str, int] = field(default_factory=dict)  # when each exit was known
    texts: Expectation = NOTHING

    def expected_by(self, observer: str) -> Expectation:
        """Return what an observer has to find: texts or drawers."""
        return self.texts if observer in OF_TEXTS else self.expected

    def about_texts(self, process: str) -> bool:
        """Tell whether what a process writes are texts."""
        return _writes_texts(self.plan, process)


def expectations(
    plan: Plan, calls: Iterable[Call], died_ns: Mapping[str, int]
) -> tuple[Expectation, Expectation]:
    """Return what must hold of drawers and of texts, by what their writers were told."""
    of_texts: dict[bool, list[Call]] = {False: [], True: []}
    writes_texts = cache(partial(_writes_texts, plan))
    for call in calls:
        of_texts[writes_texts(call.begin.process)].append(call)
    return expect(of_texts[False], died_ns), expect(of_texts[True], died_ns)


def _writes_texts(plan: Plan, process: str) -> bool:
    return plan.target_of(process) in OF_TEXTS


@dataclass(frozen=True)
class Violation:
    """One contradiction: a sentence, and the name under which the same contradiction is counted.

    `process` is the one that showed it, `time_ns` when, on the history's clock; "" and 0 where the
    check does not know. They place a mark in a report and decide nothing.
    """

    check: str
    signature: str
    sentence: str
    numbers: tuple[int, ...] = field(default=())
    process: str = ""
    time_ns: int = 0


def shown_by(seen: Observation, stage: str, violations: Iterable[Violation]) -> list[Violation]:
    """Return violations with the observer, and the answer, that showed them."""
    when = seen.when(stage)
    return [replace(each, process=seen.process, time_ns=when) for each in violations]
