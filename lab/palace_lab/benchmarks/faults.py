"""How fast the lab itself does harm: starting a process, killing at random, killing at a call.

The peer is what a lab without a fork server has: an interpreter of its own for every process, which
imports chromadb each time. For SQLite, which imports nothing, the peer is the ceiling of RocksDB's
db_crashtest, one kill every 3 s.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

from palace_lab.benchmarks.model import Bound, Case, Contestant, Sample
from palace_lab.benchmarks.palaces import Palaces, ask
from palace_lab.benchmarks.victims import Forked, Fresh, Victim, kill_once, start_fresh
from palace_lab.errors import LabError
from palace_lab.plan.model import Plan
from palace_lab.plan.steps import Crash, write
from palace_lab.runner.arena import Arena
from palace_lab.runner.trial import Trial, run_trial

#: What the lab promises, against fresh interpreters and, for SQLite, one kill every 3 s.
_START_MOST = 1 / 50
_KILLS_LEAST = 5.0
_SQLITE_KILLS_LEAST = 100.0
_POINTS_LEAST = 5.0
_CEILING_PER_MINUTE = 60 / 3
#: By contestant: enough for a figure to settle; fresh interpreters take a second each.
_STARTED, _STARTED_FRESH = 40, 4
_KILLED, _KILLED_FRESH, _KILLED_SQLITE = 100, 20, 200
#: Of one palace, so that reading it all back each time stays small beside the kill.
_KILLED_EACH = 20
_POINTS, _POINTS_FRESH = 12, 4
#: A victim is killed so long after its first write may begin, drawn evenly: some writes.
_KILL_S_MAX = {"chroma": 0.02, "fresh": 0.02, "triples": 0.005}


def starting(palaces: Palaces, scale: float) -> Iterator[Case]:
    """Have a process that has imported chromadb and answers."""
    contestants = (
        Contestant("worker", _started(palaces, _few(_STARTED, scale))),
        Contestant("interpreter", _started_fresh(palaces, _few(_STARTED_FRESH, scale))),
    )
    bound = Bound("worker", "interpreter", _START_MOST, at_least=False)
    yield Case("starting a process", "s", contestants, (bound,))


def killing(palaces: Palaces, scale: float) -> Iterator[Case]:
    """Start, open, count, write, and be killed at a random moment; again and again."""
    drawers = (
        Contestant("workers", _killed(palaces, "chroma", _few(_KILLED, scale))),
        Contestant("interpreters", _killed(palaces, "fresh", _few(_KILLED_FRESH, scale))),
    )
    bound = Bound("workers", "interpreters", _KILLS_LEAST, at_least=True)
    yield Case("random kills on chromadb", "cycles/min", drawers, (bound,))
    triples = (
        Contestant("workers", _killed(palaces, "triples", _few(_KILLED_SQLITE, scale))),
        Contestant("one every 3 s", lambda: Sample(_CEILING_PER_MINUTE)),
    )
    bound = Bound("workers", "one every 3 s", _SQLITE_KILLS_LEAST, at_least=True)
    yield Case("random kills on SQLite", "cycles/min", triples, (bound,))


def pointing(palaces: Palaces, scale: float) -> Iterator[Case]:
    """Kill a writer at the k-th write of a flush, look, and judge, for one k after the other.

    Time in which an observer sat out its deadline is not the lab's and is counted apart.
    """
    contestants = (
        Contestant("workers", _points(palaces, _few(_POINTS, scale), forking=True)),
        Contestant("interpreters", _points(palaces, _few(_POINTS_FRESH, scale), forking=False)),
    )
    bound = Bound("workers", "interpreters", _POINTS_LEAST, at_least=True)
    yield Case("crash points in a flush", "points/min", contestants, (bound,))


def _few(count: int, scale: float) -> int:
    return max(2, round(count * scale))


def _started(palaces: Palaces, count: int) -> Callable[[], Sample]:
    def run() -> Sample:
        with palaces.fresh("palace", 0) as directory:
            seconds = 0.0
            for number in range(count):
                began = time.monotonic()
                with palaces.process(directory, "chroma", f"worker{number}") as worker:
                    ask(worker, "prepare", first=0, count=0)
                    seconds += time.monotonic() - began
        return Sample(seconds / count)

    return run


def _started_fresh(palaces: Palaces, count: int) -> Callable[[], Sample]:
    python = palaces.arena.environment(palaces.release).python

    def run() -> Sample:
        seconds = 0.0
        for _ in range(count):
            began = time.monotonic()
            process = start_fresh(python, "import chromadb; print('ready', flush=True)")
            with process:
                if process.stdout is None or process.stdout.readline() != b"ready\n":
                    raise LabError(f"{python} could not import chromadb")
                seconds += time.monotonic() - began
        return Sample(seconds / count)

    return run


def _killed(palaces: Palaces, what: str, count: int) -> Callable[[], Sample]:
    def run() -> Sample:
        lots = random.Random(0)  # noqa: S311  (the same moments for every contestant)
        ruined, acknowledged = 0, 0
        began = time.monotonic()
        done = 0
        while done < count:
            with palaces.fresh("palace", 0) as directory:
                sure, kept = 0, True
                begun = done
                while kept and done < min(count, begun + _KILLED_EACH):
                    victim: Victim = (
                        Fresh(palaces, directory, done)
                        if what == "fresh"
                        else Forked(palaces, directory, done, what)
                    )
                    done += 1
                    written = kill_once(victim, lots.uniform(0, _KILL_S_MAX[what]), at_least=sure)
                    kept = written is not None
                    sure += written or 0
                    acknowledged += written or 0
                ruined += not kept
        per_minute = 60 * count / (time.monotonic() - began)
        return Sample(per_minute, {"acknowledged": acknowledged, "palaces ruined": ruined})

    return run


def _points(palaces: Palaces, count: int, *, forking: bool) -> Callable[[], Sample]:
    plan = Plan(steps=(), release=palaces.release, target="chroma", observers=("chroma",))

    def at(k: int) -> Plan:
        crash = Crash("writer", "write", "*/data_level0.bin", k=k)
        return plan.changed(steps=(crash, write("writer", 60)))

    def trial(arena: Arena, k: int) -> Trial:
        done = run_trial(arena, at(k))
        if done.lab_error or not done.reached:
            raise LabError(f"crash point {k} of a flush: {done.lab_error or 'not reached'}")
        return done

    def fresh(k: int) -> Trial:
        environment = palaces.arena.environment(palaces.release)
        with Arena([environment], scratch_root=None, forking=False) as arena:
            return trial(arena, k)

    def run() -> Sample:
        began = time.monotonic()
        trials = [trial(palaces.arena, k) if forking else fresh(k) for k in range(1, count + 1)]
        waited_s = sum(map(_waited_s, trials))
        seconds = time.monotonic() - began - waited_s
        return Sample(60 * count / seconds, {"sat out, s": waited_s})

    return run


def _waited_s(trial: Trial) -> float:
    """Return how long hanging processes were waited for."""
    seconds = sum(hang.waited_s for hang in trial.outcome.hangs)
    if trial.evidence is not None:
        for seen in trial.evidence.observations:
            seconds += sum(look.seconds for look in seen.looks if look.phase == "hung")
    return seconds
