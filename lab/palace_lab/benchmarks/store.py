"""What our library costs beside raw chromadb: writing, opening, recovering, searching.

Sizes are drawers of 384 dimensions. Writers divide the same number of drawers among them. Raw
chromadb with several writers is measured for what it loses, not as a peer: it is fast because it
does not look.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from palace_lab.benchmarks.model import Bound, Case, Contestant, Sample
from palace_lab.benchmarks.palaces import LIBRARIES, Palaces, answer, ask, tell
from palace_lab.errors import LabError, WorkerDiedError
from palace_lab.processes.points import CrashPoint

#: Drawers written, by batch: enough for the figure to settle, few enough for a Pi.
_WRITTEN = {1: 400, 10: 2_000, 100: 8_000}
_SEARCHES = 1_000
_DEADLINE_S = 300.0
#: What the library promises: four writers together, by batch, against one on raw chromadb.
_WRITERS_LEAST = {10: 0.5, 100: 0.5}
_OPEN_MOST = 1.5
_SEARCH_MOST = 1.1


def writers(palaces: Palaces, scale: float) -> Iterator[Case]:
    """Four processes through the library against one on raw chromadb, and four raw beside it."""
    for size in (0, round(20_000 * scale)):
        for batch, written in _WRITTEN.items():
            total = max(4 * batch, round(written * scale))
            runs = {
                "4 × library": _writing(palaces, "palace", 4, size, total, batch),
                "1 × chromadb": _writing(palaces, "chroma", 1, size, total, batch),
                "1 × library": _writing(palaces, "palace", 1, size, total, batch),
                "4 × chromadb": _writing(palaces, "chroma", 4, size, total, batch),
            }
            bounds = (
                (Bound("4 × library", "1 × chromadb", _WRITERS_LEAST[batch], at_least=True),)
                if batch in _WRITERS_LEAST
                else ()
            )
            yield Case(
                f"writing {batch} at a time to {size:,} drawers",
                "drawers/s",
                tuple(Contestant(name, run) for name, run in runs.items()),
                bounds,
            )


def opening(palaces: Palaces, scale: float) -> Iterator[Case]:
    """Open, count and search once in a fresh process."""
    yield _beside_raw(palaces, "opening", _opening, round(50_000 * scale), _OPEN_MOST)


def recovery(palaces: Palaces, scale: float) -> Iterator[Case]:
    """First open after a writer was killed in mid-flush, beside the open of a healthy palace."""
    for size in (1_000, 10_000, 50_000):
        drawers = round(size * scale)
        contestants = (
            Contestant("after a kill", _recovering(palaces, drawers)),
            Contestant("healthy", _opening(palaces, "palace", drawers)),
        )
        yield Case(f"recovering {drawers:,} drawers", "s", contestants)


def searching(palaces: Palaces, scale: float) -> Iterator[Case]:
    """One search for ten drawers in a long-lived process."""
    yield _beside_raw(palaces, "searching", _searching, round(20_000 * scale), _SEARCH_MOST)


def _beside_raw(
    palaces: Palaces,
    what: str,
    runner: Callable[[Palaces, str, int], Callable[[], Sample]],
    size: int,
    most: float,
) -> Case:
    contestants = tuple(
        Contestant(library, runner(palaces, library, size)) for library in LIBRARIES
    )
    bound = Bound("palace", "chroma", most, at_least=False)
    return Case(f"{what} {size:,} drawers", "s", contestants, (bound,))


def _writing(
    palaces: Palaces, library: str, processes: int, size: int, total: int, batch: int
) -> Callable[[], Sample]:
    def run() -> Sample:
        each = total // processes
        with palaces.fresh(library, size) as directory:
            with ExitStack() as stack:
                crew = [
                    stack.enter_context(palaces.process(directory, library, f"writer{number}"))
                    for number in range(processes)
                ]
                for number, worker in enumerate(crew):
                    ask(worker, "open")
                    ask(worker, "prepare", first=size + number * each, count=each)
                began = time.monotonic()
                for worker in crew:
                    tell(worker, "write", batch=batch)
                answers = [answer(worker) for worker in crew]
                seconds = time.monotonic() - began
            slowest_s = max(each["slowest_s"] for each in answers)
            lost = _lost(palaces, library, directory, size, each * processes)
        return Sample(
            each * processes / seconds, {"longest call, s": slowest_s, "not findable": lost}
        )

    return run


def _lost(palaces: Palaces, library: str, directory: Path, first: int, count: int) -> float:
    """Return how many of the drawers written are not findable.

    All, if the reader of what several raw writers left dies of it, fails or does nothing any more;
    of our library's that is an error.
    """
    try:
        with palaces.process(directory, library, "reader") as worker:
            ask(worker, "open")
            tell(worker, "found", first=first, count=count)
            return float(len(answer(worker, alone=True)["missing"]))
    except LabError:
        if library != "chroma":
            raise
        return float(count)


def _opening(palaces: Palaces, library: str, size: int) -> Callable[[], Sample]:
    def run() -> Sample:
        with palaces.fresh(library, size) as directory:
            return _open_once(palaces, library, directory, size)

    return run


def _open_once(palaces: Palaces, library: str, directory: Path, size: int) -> Sample:
    with palaces.process(directory, library, "opener") as worker:
        ask(worker, "prepare", first=size - 1, count=1)
        return Sample(ask(worker, "opened")["seconds"])


def _recovering(palaces: Palaces, size: int) -> Callable[[], Sample]:
    def run() -> Sample:
        with palaces.fresh("palace", size) as directory:
            more = 2 * 1000  # more than a flush away, whatever is pending
            with palaces.process(directory, "palace", "victim", "write") as victim:
                ask(victim, "open")
                ask(victim, "prepare", first=size, count=more)
                victim.arm([CrashPoint("write", "*/index_metadata.pickle", k=1, action="die")])
                tell(victim, "write", batch=100)
                try:
                    answer(victim)
                except WorkerDiedError:
                    victim.wait_exit(_DEADLINE_S)
                else:
                    raise LabError("the writer to be killed in a flush made none")
            opened = _open_once(palaces, "palace", directory, size)
        return Sample(opened.figure, {"drawers/s": size / opened.figure})

    return run


def _searching(palaces: Palaces, library: str, size: int) -> Callable[[], Sample]:
    def run() -> Sample:
        with (
            palaces.fresh(library, size) as directory,
            palaces.process(directory, library, "reader") as worker,
        ):
            ask(worker, "open")
            ask(worker, "prepare", first=0, count=min(size, _SEARCHES))
            return Sample(ask(worker, "search")["seconds"])

    return run
