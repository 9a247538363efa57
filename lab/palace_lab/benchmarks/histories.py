"""What recording an event costs, and whether judging a history grows with its length only.

Recording: the peer is a line of JSON with a flush, which is what survives a SIGKILL as well; every
contestant is killed after its last event, and all of them must be there. Judging: a history is read
from its files, merged, and given to every check; what observers saw is what there should be.
"""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from palace_lab.benchmarks.model import Bound, Case, Contestant, Sample
from palace_lab.benchmarks.palaces import Palaces
from palace_lab.checks.evidence import Evidence, Look, Observation, expectations
from palace_lab.checks.run import run_checks
from palace_lab.errors import LabError
from palace_lab.history.merge import calls, merge
from palace_lab.history.segment import Event, Recorder, read_segment
from palace_lab.plan.model import Plan
from palace_lab.processes.exits import Exit

_RECORD_MOST = 1 / 5
_RECORDED = 50_000
_DEADLINE_S = 120.0
#: Ten times the events may cost eleven times the time; more calls that nobody knows the end of of
#: one drawer, about nothing: an exhaustive checker would take 2^15 times as long.
_JUDGE_MOST = 11.0
_PENDING_MOST = 2.0
_EVENTS = 100_000
_WRITERS = 16
_PENDING = 16
_DRAWERS = 2_000


def recording(palaces: Palaces, scale: float) -> Iterator[Case]:
    """Record an event so that it survives the SIGKILL of its process, which then comes."""
    count = max(100, round(_RECORDED * scale))
    contestants = (
        Contestant("segment", _recorded(palaces, "segment", count)),
        Contestant("JSON line", _recorded(palaces, "lines", count)),
    )
    bound = Bound("segment", "JSON line", _RECORD_MOST, at_least=False)
    yield Case("recording an event", "µs", contestants, (bound,))


def judging(palaces: Palaces, scale: float) -> Iterator[Case]:
    """Judge a history of 16 writers, and one of one drawer with writes of unknown end."""
    few = max(1_000, round(_EVENTS * scale))
    many = 10 * few
    contestants = tuple(
        Contestant(f"{events:,} events", _judged(palaces, events, _DRAWERS, pending=0))
        for events in (many, few)
    )
    bound = Bound(contestants[0].name, contestants[1].name, _JUDGE_MOST, at_least=False)
    yield Case("judging a history", "s of CPU", contestants, (bound,))
    shapes = {
        f"{many:,}, {_PENDING} pending": (many, _PENDING),
        f"{few:,}, {_PENDING} pending": (few, _PENDING),
        f"{few:,}, 1 pending": (few, 1),
    }
    contestants = tuple(
        Contestant(name, _judged(palaces, events, 1, pending=pending))
        for name, (events, pending) in shapes.items()
    )
    longer, shorter, one = shapes
    bounds = (
        Bound(longer, shorter, _JUDGE_MOST, at_least=False),
        Bound(shorter, one, _PENDING_MOST, at_least=False),
    )
    yield Case("judging one drawer", "s of CPU", contestants, bounds)


def _recorded(palaces: Palaces, how: str, count: int) -> Callable[[], Sample]:
    def run() -> Sample:
        with palaces.fresh("palace", 0) as directory:
            path = directory / "history" / "events"
            worker = palaces.arena.host(palaces.release).launch(
                how,
                entry="palace_lab.benchmarks.recorders:main",
                config={"how": how, "path": str(path), "count": count},
            )
            with worker:
                seconds = float(worker.receive(_DEADLINE_S)["seconds"])
                ended = worker.wait_exit(_DEADLINE_S)
            if ended.signal != signal.SIGKILL:
                raise LabError(f"a recorder was to kill itself and {ended.describe()}")
            kept = _kept(path, how)
        if kept != count:
            raise LabError(f"{how}: of {count} events recorded before a SIGKILL {kept} are there")
        return Sample(1e6 * seconds / count, {"lost": count - kept})

    return run


def _kept(path: Path, how: str) -> int:
    if how == "segment":
        return sum(1 for _ in read_segment(path))
    return sum(1 for line in path.read_bytes().splitlines() if json.loads(line))


def _judged(palaces: Palaces, events: int, drawers: int, *, pending: int) -> Callable[[], Sample]:
    """Write the history once; each run reads and judges it."""
    directories: list[Path] = []

    def run() -> Sample:
        if not directories:
            directories.append(_write_history(palaces, events, drawers, pending))
        began = time.process_time()
        found = merge(directories[0])
        evidence = _evidence(found)
        violations = run_checks(evidence)
        seconds = time.process_time() - began
        if violations:
            raise LabError(f"a history in order was judged: {violations[0].sentence}")
        return Sample(seconds, {"events": len(found)})

    return run


def _write_history(palaces: Palaces, events: int, drawers: int, pending: int) -> Path:
    """Write segments as `_WRITERS` processes would that upsert drawers in turns.

    The first `pending` of them begin one more write each and are heard of no more.
    """
    directory = palaces.arena.trial_directory()
    lots = random.Random(events)  # noqa: S311
    each = events // 2 // _WRITERS
    writers = [
        Recorder(directory / f"writer{number}.hist", f"writer{number}", capacity=2 * each + 1)
        for number in range(_WRITERS)
    ]
    for number, writer in enumerate(writers[:pending]):
        writer.invoke("upsert", first=0, count=1, revision=number)
    for revision in range(each):
        for writer in writers:
            first = lots.randrange(drawers)
            call = writer.invoke("upsert", first=first, count=1, revision=revision)
            writer.write("ok", "upsert", call, first=first, count=1, revision=revision)
    for writer in writers:
        writer.close()
    return directory


def _evidence(found: list[Event]) -> Evidence:
    plan = Plan(steps=(), release="", target="chroma", observers=("chroma",))
    made = tuple(calls(found))
    drawers, texts = expectations(plan, made, {})
    there = sorted({**drawers.may, **drawers.must})
    revisions = [[n, {**drawers.may, **drawers.must}[n][0]] for n in there]
    answers = {
        "opened": {"count": len(there), "seconds": 0.1},
        "listed": {"numbers": there, "foreign": [], "revisions": revisions},
        "found": {"looked_up": len(there), "second_look": [], "missing": [], "errors": {}},
    }
    looks = tuple(Look(stage, "ok", value, "", 0.1) for stage, value in answers.items())
    seen = Observation("chroma", looks, Exit(0, None, by_lab=False))
    return Evidence(
        plan=plan,
        calls=made,
        expected=drawers,
        texts=texts,
        observations=(seen,),
        surveys={},
        exits={},
        hangs=(),
    )
