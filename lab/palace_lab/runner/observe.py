"""Asking a palace, in fresh processes that may die of it, what it still holds.

Rules:
- Each observer is a new process of the release under test, under limits of file size, memory and
  processor time: a torn index can make a reader allocate gigabytes.
- It opens, lists, looks every acknowledged drawer up by its own vector, then writes new drawers
  and looks those up: a palace that only reads well is not healed (in S0 the crash came with the
  first write).
- The first question that is not answered ends the observation; that is a result.
- A raw process builds its graph from a log in random order and misses a drawer by chance now and
  then, as it does in a palace nothing ever happened to (docs/s1-measured.md). So what one misses
  another one is asked for, before the first writes and flushes the graph it has, and only what both
  miss is lost.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from palace_lab.checks.evidence import OF_TEXTS, Baseline, Evidence, Look, Observation, expectations
from palace_lab.checks.expected import PROBE_FIRST, Expectation
from palace_lab.errors import DeadlineError, LabError, WorkerDiedError
from palace_lab.history.merge import Call
from palace_lab.plan.model import Plan
from palace_lab.processes.exits import Exit
from palace_lab.processes.supervise import Worker
from palace_lab.runner.arena import Arena
from palace_lab.runner.deadline import Deadline
from palace_lab.runner.launch import launch, limits_for
from palace_lab.runner.outcome import Checked, Outcome

PROBE_COUNT = 12
#: The observer that is chromadb alone.
RAW = "chroma"

Question = tuple[str, str, dict[str, Any]]  # stage, operation, arguments


def observe(
    arena: Arena,
    plan: Plan,
    directory: Path,
    observer: str,
    expected: Expectation,
    *,
    deadline: Deadline,
    round_: int = 0,
    baseline: Baseline | None = None,
) -> Observation:
    """Ask one fresh process everything; `observer` is the target it uses."""

    def fresh(name: str, questions: Iterable[Question], looks: list[Look]) -> Exit | None:
        worker = launch(
            arena,
            plan,
            directory,
            name,
            target=observer,
            release=plan.release,
            fixes=plan.fixes,
            options={},
            limits=limits_for(baseline, looks=True),
        )
        try:
            return _ask(worker, questions, deadline, looks)
        finally:
            worker.close()

    def questions() -> Iterator[Question]:
        for question in _questions(observer, expected, round_):
            if question[0] == "write" and observer == RAW:
                found = next(look.value for look in first if look.stage == "found")
                wanted = [[number, *expected.must[number]] for number in found["missing"]]
                if wanted:
                    more: list[Question] = [
                        ("opened-again", "opened", {}),
                        ("found-again", "found", {"wanted": wanted}),
                    ]
                    ends["second"] = fresh(f"{name}-again", more, second)
            yield question

    name = f"reader-{observer}-{round_}"
    first: list[Look] = []
    second: list[Look] = []
    ends: dict[str, Exit | None] = {}
    ends["first"] = fresh(name, questions(), first)
    bad = second and second[-1].phase != "ok"
    return Observation(observer, (*first, *second), ends["second" if bad else "first"], name)


def place_midway(number: int | str) -> str:
    """Return where in its directory a trial's palace is looked at after step `number`."""
    return f"check-{number}"


def look_midway(
    arena: Arena,
    plan: Plan,
    directory: Path,
    number: int,
    told: tuple[Call, ...],
    outcome: Outcome,
    *,
    deadline: Deadline,
    baseline: Baseline | None,
) -> Checked:
    """Look at a copy of a trial's palace after step `number`; the palace itself stays as it is."""
    place = directory / place_midway(number)
    for name in ("history", "logs"):
        (place / name).mkdir(parents=True)
    shutil.copytree(directory / "palace", place / "palace", symlinks=True)
    evidence = look(arena, plan, place, told, outcome, deadline=deadline, baseline=baseline)
    shutil.rmtree(place / "palace")
    seen = tuple(
        replace(each, process=f"{place.name}/{each.process}") for each in evidence.observations
    )
    return Checked(number, plan.release, replace(evidence, observations=seen))


def look(
    arena: Arena,
    plan: Plan,
    directory: Path,
    made: tuple[Call, ...],
    outcome: Outcome,
    *,
    deadline: Deadline,
    baseline: Baseline | None = None,
) -> Evidence:
    """Return what fresh processes and the files say, with what the plan's processes were told."""
    drawers, texts = expectations(plan, made, outcome.died_ns)
    surveys = {"before": survey(arena, plan, directory, "before", deadline)}
    observations = [
        observe(
            arena,
            plan,
            directory,
            observer,
            texts if observer in OF_TEXTS else drawers,
            deadline=deadline,
            round_=number,
            baseline=baseline,
        )
        for number, observer in enumerate(plan.observers)
    ]
    surveys["after"] = survey(arena, plan, directory, "after", deadline)
    return Evidence(
        plan=plan,
        calls=made,
        expected=drawers,
        texts=texts,
        observations=tuple(observations),
        surveys={label: found for label, found in surveys.items() if found is not None},
        exits=dict(outcome.exits),
        hangs=tuple((hang.process, hang.op, hang.waited_s) for hang in outcome.hangs),
        baseline=baseline,
        answers=tuple(
            (process, op, answer.get("value"))
            for process, op, answer in outcome.answers
            if answer.get("done") == "ok"
        ),
        died_ns=dict(outcome.died_ns),
    )


def survey(arena: Arena, plan: Plan, directory: Path, label: str, deadline: Deadline) -> Any:
    """Return what the files say without chromadb; None where there are no drawers to survey."""
    if not (directory / "palace" / "chroma.sqlite3").exists():
        return None
    looks: list[Look] = []
    worker = launch(
        arena,
        plan,
        directory,
        f"survey-{label}",
        target="anatomy",
        release=plan.release,
        fixes=(),
        options={},
        limits=limits_for(None, looks=True),
    )
    try:
        ended = _ask(worker, [("survey", "survey", {})], deadline, looks)
    finally:
        worker.close()
    look = looks[0]
    if look.phase == "ok":
        return look.value
    if look.phase in ("died", "hung"):
        how = look.error if ended is None else ended.describe()
        raise LabError(f"the survey of the palace's files {look.phase}: {how}")
    said = look.error
    finding = {"kind": "unreadable", "severity": "damage", "sentence": said}
    return {"findings": [finding], "collections": {}}


def _questions(observer: str, expected: Expectation, round_: int) -> list[Question]:
    if observer in ("triples", "memories"):
        return [("listed", "read_all", {})]
    if observer in ("vectors", "drawer_vectors"):
        return [("models", "models", {"numbers": sorted(expected.known)})]
    wanted = [[number, *revisions] for number, revisions in sorted(expected.must.items())]
    first = PROBE_FIRST + 1000 * round_
    probes = [[first + offset, 0] for offset in range(PROBE_COUNT)]
    return [
        ("opened", "opened", {}),
        ("listed", "listed", {}),
        ("found", "found", {"wanted": wanted}),
        ("write", "write", {"first": first, "count": PROBE_COUNT, "batch": 4}),
        ("found-new", "found", {"wanted": probes}),
    ]


def _ask(
    worker: Worker, questions: Iterable[Question], deadline: Deadline, looks: list[Look]
) -> Exit | None:
    """Add what is answered to `looks`; return how the process ended."""
    for stage, op, args in questions:
        began = time.monotonic()
        try:
            worker.send({"do": op, "args": args})
            answer = deadline.receive_alone(worker)
        except (WorkerDiedError, OSError):
            ended = worker.wait_exit(deadline.seconds)
            took_s = time.monotonic() - began
            said = ended.crash or ended.describe()
            looks.append(Look(stage, "died", None, said, took_s, time.monotonic_ns()))
            return ended
        except DeadlineError as error:
            took_s = time.monotonic() - began
            looks.append(Look(stage, "hung", None, str(error), took_s, time.monotonic_ns()))
            worker.kill()
            return worker.wait_exit(deadline.seconds)
        took_s = time.monotonic() - began
        phase, said = answer["done"], answer.get("error", "")
        looks.append(Look(stage, phase, answer.get("value"), said, took_s, time.monotonic_ns()))
        if phase != "ok":
            break
    worker.send({"exit": True})
    return worker.wait_exit(deadline.seconds)
