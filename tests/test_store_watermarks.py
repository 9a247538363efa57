"""S0: watermarks no release can go on from are healed, as often as a palace is poisoned."""

from __future__ import annotations

import itertools
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from palace_lab.processes.supervise import (
    CrashPoint,
    Host,
    WorkerGoneError,
    tracing_available,
)
from palace_store.anatomy import survey

sys.path.append(str(Path(__file__).parent / "entries"))
from store_bench import Bench, Told, ToldError

pytestmark = [pytest.mark.slow, pytest.mark.s0]

LOCKED = ("0.5.23", "0.6.3", "1.0.21", "1.3.7", "1.5.5", "1.5.7", "1.5.9")
#: Who made the palace, and who has to go on with it: the reported pair and the quick profile's.
FEW = (("0.6.3", "1.5.9"),)
PAIRS = [
    pytest.param(pair, id="-to-".join(pair), marks=[] if pair in FEW else [pytest.mark.nightly])
    for pair in itertools.combinations_with_replacement(LOCKED, 2)
]


@pytest.fixture(scope="module", params=PAIRS)
def pair(
    request: pytest.FixtureRequest,
    hosts: Callable[[str], Host],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Path, Bench]]:
    """Yield a raw palace of the older release, its log purged, and a bench of the newer one."""
    older, newer = request.param
    scratch = tmp_path_factory.mktemp("pair")
    made = scratch / "made"
    with Bench(older, hosts(older), scratch).worker(made) as raw:
        raw.do("raw_put", numbers=list(range(23)))
        raw.do("raw_close")
    yield made, Bench(newer, hosts(newer), scratch)
    assert hosts(newer).leaks() == ()


#: What becomes of a mark: as a stale process writes it (eight bytes, the highest first), the other
#: way round, and what nobody should write.
POISONS: dict[str, Callable[[int], object]] = {
    "blob": lambda value: value.to_bytes(8, "big"),
    "integer": lambda value: value,
    "beyond": lambda value: value + 1_000_000,
    "beyond-blob": lambda value: (value + 1_000_000).to_bytes(8, "big"),
    "negative": lambda value: -value,
    "text": lambda _: "seventeen",
    "short-blob": lambda value: value.to_bytes(2, "big"),
}


def poison(palace: Path, harm: str) -> None:
    marks = survey(palace).tables.watermarks.values()
    assert marks
    with closing(sqlite3.connect(palace / "chroma.sqlite3")) as connection, connection:
        for mark in marks:
            assert mark.value is not None
            connection.execute(
                "UPDATE max_seq_id SET seq_id = ? WHERE segment_id = ?",
                (POISONS[harm](mark.value), mark.segment),
            )


def names(numbers: Iterable[int]) -> set[str]:
    return {f"drawer-{number:04d}" for number in numbers}


def acknowledged(raw: Told, numbers: Iterable[int]) -> set[str]:
    """Let raw chromadb write on; return what it says it has written."""
    done = set()
    for number in numbers:
        try:
            raw.do("raw_put", numbers=[number])
        except ToldError:
            return done
        done |= names([number])
    return done


@pytest.mark.parametrize("harm", POISONS)
def test_a_poisoned_palace_is_healed_as_often_as_it_is_poisoned(
    pair: tuple[Path, Bench], harm: str
) -> None:
    made, bench = pair
    palace = bench.copied(made)
    known = names(range(23))
    for first in (100, 200):
        poison(palace, harm)
        if first > 100:  # before we keep the log, raw chromadb purges what it passes over
            with bench.worker(palace) as raw:
                known |= acknowledged(raw, range(first, first + 3))
        with bench.worker(palace) as worker:
            worker.do("put", numbers=list(range(first + 50, first + 57)))
            known |= names(range(first + 50, first + 57))
            found = worker.do("look")
            assert known <= set(found["documents"])
            assert found["lost"] == []
            assert found["count"] == len(found["documents"])
        with bench.worker(palace) as raw:
            more = acknowledged(raw, range(first + 90, first + 91))
            assert more, "raw chromadb cannot write to the healed palace"
            known |= more
    assert not {"watermark-blob", "watermark-impossible", "watermark-type"} & survey(palace).kinds()


def test_a_log_that_was_emptied_takes_no_number_twice(pair: tuple[Path, Bench]) -> None:
    """chromadb counts from 1 again then, below the watermarks, and passes over what it is given."""
    made, bench = pair
    palace = bench.copied(made)
    for first in (100, 200):
        with closing(sqlite3.connect(palace / "chroma.sqlite3")) as connection, connection:
            assert connection.execute("DELETE FROM embeddings_queue").rowcount > 0
        later = set()
        if first > 100:
            with bench.worker(palace) as raw:
                later = acknowledged(raw, range(first, first + 3))
        with bench.worker(palace) as worker:
            worker.do("put", numbers=list(range(first + 50, first + 57)))
            later |= names(range(first + 50, first + 57))
            found = worker.do("look")
            assert names(range(23)) | later <= set(found["documents"])
            assert not later & set(found["lost"])


@pytest.mark.skipif(tracing_available() is not None, reason=str(tracing_available()))
@pytest.mark.parametrize(
    "most", [5, pytest.param(None, marks=pytest.mark.nightly)], ids=["some", "all"]
)
def test_poisoned_where_a_migration_was_killed(pair: tuple[Path, Bench], most: int | None) -> None:
    made, bench = pair
    palace = bench.copied(made)
    pattern = f"{palace}/chroma.sqlite3*"
    with bench.worker(palace, points=[CrashPoint("write", pattern, 1, "record")]) as raw:
        raw.do("raw_open")
        writes = len(raw.worker.recorded())
    if not writes:
        pytest.skip("this release changes nothing in a palace of the other one when it opens it")
    most = min(most or writes, writes)
    points = sorted({1 + round(index * (writes - 1) / max(1, most - 1)) for index in range(most)})
    stages = set()
    for k, harm in zip(points, itertools.cycle(POISONS), strict=False):
        palace = bench.copied(made)
        point = CrashPoint("write", pattern, k)
        with bench.worker(palace, points=[point]) as raw, pytest.raises(WorkerGoneError):
            raw.do("raw_open")
        with closing(sqlite3.connect(palace / "chroma.sqlite3", isolation_level=None)) as found:
            found.execute("BEGIN IMMEDIATE")  # rolls back what was half done
            stages.add(found.execute("SELECT count(*) FROM migrations").fetchone()[0])
        where = f"killed at write {k} of {writes} of the migration, then {harm}"
        poison(palace, harm)
        with bench.worker(palace) as worker:
            worker.do("put", numbers=[50])
            seen = worker.do("look")
            assert set(seen["documents"]) == names([*range(23), 50]), where
            assert seen["lost"] == [], where
        with bench.worker(palace) as raw:
            assert acknowledged(raw, [51]), where
    print(f"{writes} writes, killed with {sorted(stages)} migrations done")
