"""Kill -9, and failing system calls, everywhere: nothing acknowledged is lost or unfindable.

Each loop makes one palace, learns at which system calls an operation writes into it, and then, for
each of these calls (in a pull request for an even sample of them), does the operation on a copy
and is killed there. A fresh process must then find everything, and be able to go on.
"""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from palace_lab.processes.supervise import CrashPoint, Hit, WorkerGoneError, tracing_available
from palace_store.fixes import Fixes

sys.path.append(str(Path(__file__).parent / "entries"))
from store_bench import FAMILIES, NEWEST, Bench, Told, ToldError, numbered

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.slow,
    pytest.mark.s1,
    pytest.mark.skipif(tracing_available() is not None, reason=str(tracing_available())),
]

ALL_FIXES = Fixes.all().words()
#: Points of one loop in a pull request; `nightly` has no limit.
SAMPLE = 8
OLD = list(range(9))
#: Nine are there at revision 0; six of these are replaced and four are new: always a flush.
CHANGED = list(range(3, 13))


@pytest.fixture(params=[SAMPLE, pytest.param(None, marks=pytest.mark.nightly)], ids=["some", "all"])
def sample(request: pytest.FixtureRequest) -> int | None:
    found: int | None = request.param
    return found


@dataclass
class Deed:
    """One operation in one worker, and what may be there after it."""

    op: str
    args: dict[str, Any]
    before: dict[str, str]
    after: dict[str, str]

    def judge(self, bench: Bench, palace: Path, where: str) -> None:
        """Look with a fresh process, write one more, look again with a fresh client."""
        with bench.worker(palace) as worker:
            self.compare(worker.do("look"), where)
            worker.do("put", numbers=[900])
            worker.do("close")
            found = worker.do("look")
            assert found["documents"].pop("drawer-0900") == "900 at 0", where
            assert worker.do("state")["open_flush"] == [], where
            found["count"] -= 1
            self.compare(found, where)

    def compare(self, found: dict[str, Any], where: str) -> None:
        listed = found["documents"]
        assert not found["lost"], f"{where}: listed, but not found by their own vectors"
        assert found["count"] == len(listed), where
        for name in self.before.keys() | self.after.keys() | listed.keys():
            allowed = {self.before.get(name), self.after.get(name)}
            assert listed.get(name) in allowed, f"{where}: {name} is {listed.get(name)!r}"


def texts(numbers: list[int], revision: int = 0) -> dict[str, str]:
    return {f"drawer-{number:04d}": f"{number} at {revision}" for number in numbers}


def filled(bench: Bench, name: str) -> Path:
    """Return a palace with nine drawers, acknowledged to a process that has ended."""
    palace = bench.directory / name
    if not palace.exists():
        with bench.worker(palace) as worker:
            worker.do("put", numbers=OLD)
            worker.do("close")
    return palace


def write_over(bench: Bench) -> tuple[Path, Deed]:
    deed = Deed(
        "put",
        {"numbers": CHANGED, "revision": 1},
        texts(OLD),
        {**texts(OLD), **texts(CHANGED, 1)},
    )
    return filled(bench, "filled"), deed


def calls(bench: Bench, base: Path, deed: Deed) -> list[tuple[str, Hit, int]]:
    """Return each call of the operation into the palace, with its number in its family."""
    palace = bench.copied(base)
    points = [CrashPoint(family, f"{palace}/*", 1, "record") for family in FAMILIES]
    with bench.worker(palace, points=points) as worker:
        worker.do(deed.op, **deed.args)
        records = worker.worker.recorded()
    return numbered(records)


def even(found: list[Any], most: int | None) -> list[Any]:
    if most is None or len(found) <= most:
        return found
    return [found[round(index * (len(found) - 1) / (most - 1))] for index in range(most)]


def killed(bench: Bench, palace: Path, deed: Deed, family: str, k: int) -> bool:
    """Do the deed and be killed at that call; False if it was done without coming there."""
    point = CrashPoint(family, f"{palace}/*", k)
    with bench.worker(palace, points=[point]) as worker:
        try:
            worker.do(deed.op, **deed.args)
        except WorkerGoneError:
            return True
    return False


def loop(bench: Bench, base: Path, deed: Deed, most: int | None) -> None:
    found = calls(bench, base, deed)
    # Where a new database is made aside, nothing is at stake: hundreds of calls, a few will do.
    aside = [point for point in found if "/.palace/new/" in point[1].path]
    chosen = even([point for point in found if point not in aside], most) + even(aside, 20)
    chosen = chosen if most is None else even(chosen, most)
    died = 0
    for family, record, k in chosen:
        palace = bench.copied(base)
        where = f"{bench.release}, killed at {family} {k} ({record.syscall} of {record.path})"
        died += killed(bench, palace, deed, family, k)
        deed.judge(bench, palace, where)
    # 1.x works with several threads: now and then there is a call less than there was before.
    assert died >= 0.8 * len(chosen), f"only {died} of {len(chosen)} points were reached"


def test_a_writer_killed_anywhere_in_a_flush(bench: Bench, sample: int | None) -> None:
    base, deed = write_over(bench)
    seen = {Path(record.path).name for _, record, _ in calls(bench, base, deed)}
    assert {"index_metadata.pickle", "data_level0.bin"} <= seen, "this write flushes no index"
    loop(bench, base, deed, sample)


def test_the_first_writer_of_a_palace_killed_anywhere(bench: Bench, sample: int | None) -> None:
    base = bench.directory / "nothing"
    base.mkdir(exist_ok=True)
    deed = Deed("put", {"numbers": OLD}, {}, texts(OLD))
    loop(bench, base, deed, sample)


@NEWEST
@pytest.mark.parametrize("file", ["data_level0.bin", "index_metadata.pickle"])
def test_killed_again_anywhere_in_the_recovery(bench: Bench, sample: int | None, file: str) -> None:
    base, deed = write_over(bench)
    torn = bench.copied(base, f"torn-{file}")
    with (
        bench.worker(torn, points=[CrashPoint("write", f"{torn}/*/{file}", 1)]) as worker,
        pytest.raises(WorkerGoneError),
    ):
        worker.do(deed.op, **deed.args)
    second = Deed("look", {}, deed.before, deed.after)
    loop(bench, torn, second, sample)


def test_a_reader_killed_anywhere_in_its_own_flush(bench: Bench, sample: int | None) -> None:
    """The reader's threshold is passed by what its peer left in the log."""
    base = bench.directory / "behind"
    if not base.exists():
        with bench.worker(base) as writer:
            writer.do("put", numbers=OLD)
        # Its index forgets all it has read, as if it had never been written: a reader starts anew.
        with bench.worker(base) as worker:
            worker.do("forget_index")
    deed = Deed("look", {}, texts(OLD), texts(OLD))
    seen = {Path(record.path).name for _, record, _ in calls(bench, base, deed)}
    assert "data_level0.bin" in seen, "this read flushes no index"
    loop(bench, base, deed, sample)


def never_sure_of_no_effect(worker: Told, deed: Deed) -> None:
    """Do the deed: it may succeed, or end with an error that leaves open what it did."""
    with contextlib.suppress(ToldError):
        worker.do(deed.op, **deed.args)
        return
    assert worker.last_effect != "none"


FAILING = [
    ("write", "data_level0.bin", 1, "ENOSPC"),
    ("write", "index_metadata.pickle", 1, "EIO"),
    ("write", "header.bin", 1, "EIO"),
    ("write", "chroma.sqlite3", 2, "ENOSPC"),
    ("write", "chroma.sqlite3-journal", 40, "EIO"),
    ("fsync", "chroma.sqlite3", 1, "EIO"),
    ("write", "state.json.*", 2, "ENOSPC"),
    ("rename", "state.json.*", 1, "EIO"),
]


@pytest.mark.parametrize(("family", "file", "k", "error"), FAILING)
def test_a_call_that_fails_in_mid_change(
    bench: Bench, family: str, file: str, k: int, error: str
) -> None:
    """Whether chromadb notices or not: unknown or ok for the caller, and nothing is lost."""
    base, deed = write_over(bench)
    palace = bench.copied(base)
    where = f"{bench.release}, {error} at {family} {k} of {file}"
    point = CrashPoint(family, f"{palace}/*{file}", k, "fail", errno=error)
    with bench.worker(palace, points=[point]) as worker:
        never_sure_of_no_effect(worker, deed)
        assert worker.worker.has_hit, f"{where}: not reached"
        deed.compare(worker.do("look"), where)  # the next operation heals
    deed.judge(bench, palace, where)


@pytest.mark.nightly
@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_every_write_fails_from_one_on(bench: Bench, error: str) -> None:
    """A disk that is full from some call on, for good, until there is room again."""
    base, deed = write_over(bench)
    for family, record, k in calls(bench, base, deed):
        palace = bench.copied(base)
        where = f"{bench.release}, {error} from {family} {k} ({record.syscall} of {record.path}) on"
        point = CrashPoint(family, f"{palace}/*", k, "fail", errno=error, repeat=None)
        with bench.worker(palace, points=[point]) as worker:
            never_sure_of_no_effect(worker, deed)
        deed.judge(bench, palace, where)


def test_without_reading_back_a_full_disk_loses_drawers_in_silence(bench: Bench) -> None:
    base, deed = write_over(bench)
    palace = bench.copied(base)
    without = [name for name in ALL_FIXES if name != "read_back"]
    point = CrashPoint("write", f"{palace}/*data_level0.bin", 1, "fail", errno="ENOSPC")
    with bench.worker(palace, points=[point], fixes=without) as worker:
        worker.do(deed.op, **deed.args)  # acknowledged
    with bench.worker(palace, fixes=without) as worker:
        try:
            assert worker.do("look")["lost"]
        except (ToldError, WorkerGoneError):
            return  # another face of the same


@pytest.mark.parametrize("off", ["flush_mark", "quarantine", "retention"])
def test_without_one_of_three_a_death_in_a_flush_ruins_the_palace(bench: Bench, off: str) -> None:
    """Each of the three alone; what covers some of the same is off as well."""
    without = [name for name in ALL_FIXES if name not in (off, "read_back", "foreign_check")]
    palace = bench.directory / f"without-{off}"
    with bench.worker(palace, fixes=without) as worker:
        worker.do("put", numbers=OLD)
        worker.do("close")
    point = CrashPoint("write", f"{palace}/*index_metadata.pickle", 1)
    with (
        bench.worker(palace, fixes=without, points=[point]) as worker,
        pytest.raises(WorkerGoneError),
    ):
        worker.do("put", numbers=CHANGED, revision=1)
    with bench.worker(palace, fixes=without) as worker:
        try:
            found = worker.do("look")
        except (ToldError, WorkerGoneError):
            return
        assert found["lost"]


def test_what_recoveries_set_aside_is_bounded(bench: Bench) -> None:
    base, deed = write_over(bench)
    palace = bench.copied(base)
    for _ in range(5):
        assert killed(bench, palace, deed, "rename", 2)  # the note is never taken back
        with bench.worker(palace) as worker:
            deed.compare(worker.do("look"), "after a kill")
    assert len(list(palace.glob("*.rebuilt-*"))) == 2
    (
        palace / f"{next(palace.glob('*.rebuilt-*')).name.partition('.')[0]}.drift-20200101-000000"
    ).mkdir()
    assert killed(bench, palace, deed, "rename", 2)
    with bench.worker(palace) as worker:
        worker.do("open")
    assert len(list(palace.glob("*.drift-*"))) == 1  # what the report's rule renamed stays
