"""Whom the rules rename: palaces of a real chromadb, healthy in every way or damaged."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from palace_store import quarantine
from palace_store.anatomy import survey
from palace_store.anatomy.replay import IN_INDEX
from palace_store.fixes import Fixes
from palace_store.quarantine import (
    OPT_OUT,
    quarantine_miscounted_hnsw,
    quarantine_stale_hnsw,
    segment_directories,
)

sys.path.append(str(Path(__file__).parent / "entries"))
from store_bench import Bench

pytestmark = [pytest.mark.slow, pytest.mark.s1]

HOUR_S = 3600.0
YEAR_S = 365 * 24 * HOUR_S
RAW: list[str] = []  # no fix at all
#: Here palaces are copied and files' times are set, which `foreign_check` is there to notice.
OURS = Fixes.all().without("foreign_check").words()
DRAWERS = 21  # at a threshold of 5 some of them are in the log only


def move_clock(palace: Path, pattern: str, seconds: float) -> None:
    """Set files' times as a clock that differed by `seconds` would have written them."""
    for path in palace.glob(pattern):
        status = path.stat()
        os.utime(path, (status.st_atime + seconds, status.st_mtime + seconds))


def quarantined_before(palace: Path) -> None:
    (segment,) = segment_directories(palace)
    shutil.copytree(segment, palace / f"{segment.name}.drift-20250102-030405")


#: Healthy palaces, and what is done to the files of each.
HEALTHY: Mapping[str, Callable[[Path], None]] = {
    "just written": lambda _: None,
    "idle": lambda palace: move_clock(palace, "*/*", -2 * HOUR_S),
    "index older than the right time": lambda palace: move_clock(palace, "*/*", -5 * YEAR_S),
    "database of a clock that is behind": lambda palace: move_clock(
        palace, "chroma.sqlite3", -5 * YEAR_S
    ),
    "never persisted": lambda _: None,
    "a deletion not yet in the index": lambda _: None,
    "quarantined before": quarantined_before,
    "several collections": lambda _: None,
}
#: Those the published rule renames all the same.
RENAMED = {"idle", "index older than the right time"}


def healthy(bench: Bench, state: str, fixes: list[str]) -> Path:
    """Return a palace of its own, written once for each release, state and set of fixes."""
    who = "ours" if fixes else "raw"
    palace = bench.directory / f"{who}-{state.replace(' ', '-')}"
    if palace.exists():
        return bench.copied(palace)
    options = {"sync_threshold": 1000} if state == "never persisted" else {}
    with bench.worker(palace, fixes=fixes, **options) as worker:
        for start in range(0, DRAWERS, 3):
            worker.do("put", numbers=list(range(start, start + 3)))
        if state == "a deletion not yet in the index":
            worker.do("delete", numbers=[1])
        if state == "several collections":
            for start in range(0, 12, 3):
                worker.do("put", numbers=list(range(start, start + 3)), at="second")
            worker.do("put", numbers=[7], at="third")
        worker.do("close")
    HEALTHY[state](palace)
    return bench.copied(palace)


def directories(palace: Path) -> dict[str, int]:
    return {entry.name: entry.stat().st_ino for entry in palace.iterdir() if entry.is_dir()}


@pytest.mark.parametrize("state", HEALTHY)
def test_our_fix_leaves_a_healthy_palace_alone(bench: Bench, state: str) -> None:
    palace = healthy(bench, state, OURS)
    before = directories(palace)
    with bench.worker(palace, fixes=OURS) as worker:
        collections = worker.do("collections")
        assert [worker.do("look", at=name)["lost"] for name in collections] == [[]] * len(
            collections
        )
        worker.do("close")
    assert directories(palace) == before
    quarantine_stale_hnsw(palace, stale_seconds=-10 * YEAR_S)  # the wrong variant: always
    assert directories(palace) != before


@pytest.mark.parametrize("state", HEALTHY)
def test_the_count_leaves_a_healthy_palace_alone(
    bench: Bench, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    palace = healthy(bench, state, RAW)
    before = directories(palace)
    assert quarantine_miscounted_hnsw(palace) == []
    assert directories(palace) == before
    monkeypatch.setattr(quarantine, "apply_to_index", lambda located, *_: dict(located))
    forgetful = quarantine_miscounted_hnsw(palace)  # the wrong variant: without the log
    assert bool(forgetful) == (state != "never persisted")


@pytest.mark.parametrize("state", HEALTHY)
def test_whom_the_published_rule_renames_and_what_that_loses(bench: Bench, state: str) -> None:
    palace = healthy(bench, state, RAW)
    (each, *_) = survey(palace).collections
    # Without an index 1.x reads all that is left of the log, 0.6.3 what is above the watermark.
    indexed = {name for name, where in each.served.items() if where == IN_INDEX}
    only_in_index = len(indexed if bench.release == "0.6.3" else set(each.rows) - each.log_ids)
    moved = quarantine_stale_hnsw(palace)
    assert bool(moved) == (state in RENAMED)
    with bench.worker(palace, fixes=RAW) as worker:
        found = worker.do("look")
    assert found["count"] == len(found["documents"]) == len(each.rows)
    assert len(found["lost"]) == (only_in_index if moved else 0)
    assert only_in_index >= 15 or state == "never persisted"  # else nothing could be lost


def test_opening_a_palace_to_read_makes_its_index_stale_from_1_0_on(bench: Bench) -> None:
    palace = healthy(bench, "just written", RAW)
    for pattern in ("*", "*/*"):
        move_clock(palace, pattern, -2 * HOUR_S)
    assert quarantine_stale_hnsw(palace) == []
    with bench.worker(palace, fixes=RAW) as worker:
        assert worker.do("look")["lost"] == []
        worker.do("close")
    assert bool(quarantine_stale_hnsw(palace)) == (bench.release != "0.6.3")


# -- damage ------------------------------------------------------------------------------------


def torn_pickle(palace: Path) -> None:
    (pickle,) = palace.glob("*/index_metadata.pickle")
    os.truncate(pickle, pickle.stat().st_size // 2)


def no_pickle(palace: Path) -> None:
    (pickle,) = palace.glob("*/index_metadata.pickle")
    pickle.unlink()


def torn_data(palace: Path) -> None:
    (data,) = palace.glob("*/data_level0.bin")
    os.truncate(data, 1)


@pytest.mark.parametrize("damage", [torn_pickle, no_pickle], ids=lambda each: each.__name__)
def test_the_count_finds_fresh_damage_that_the_age_of_a_file_does_not(
    bench: Bench, damage: Callable[[Path], None]
) -> None:
    palace = healthy(bench, "just written", RAW)
    damage(palace)
    assert quarantine_stale_hnsw(palace) == []
    (segment,) = segment_directories(palace)
    (moved,) = quarantine_miscounted_hnsw(palace)
    assert moved.startswith(f"{segment}.drift-")
    assert quarantine_miscounted_hnsw(palace) == []


def test_the_count_finds_two_writers_and_the_rename_brings_nothing_back(bench: Bench) -> None:
    palace = bench.directory / "two-writers"
    with bench.worker(palace, fixes=RAW) as one, bench.worker(palace, fixes=RAW) as two:
        for start in range(0, 120, 6):
            one.do("put", numbers=list(range(start, start + 3)))
            two.do("put", numbers=list(range(start + 3, start + 6)))
    assert quarantine_stale_hnsw(palace) == []
    assert len(quarantine_miscounted_hnsw(palace)) == 1
    with bench.worker(palace, fixes=RAW) as worker:
        found = worker.do("look")
    assert found["count"] == 120
    assert len(found["lost"]) > 100


def test_the_count_does_not_see_a_torn_data_file(bench: Bench) -> None:
    """What review asked for counts the pickle, which is whole: the crash stays."""
    palace = healthy(bench, "just written", RAW)
    torn_data(palace)
    assert quarantine_stale_hnsw(palace) == []
    assert quarantine_miscounted_hnsw(palace) == []
    assert "index-torn" in survey(palace, deep=False).kinds()


def test_the_count_at_open(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    words = Fixes.reported("quarantine-review").words()
    palace = healthy(bench, "just written", RAW)
    torn_pickle(palace)
    monkeypatch.setenv(OPT_OUT, "off")
    assert quarantine_miscounted_hnsw(palace) == []
    with bench.worker(palace, fixes=words) as worker:
        assert len(worker.do("look")["documents"]) == DRAWERS
    assert list(palace.glob("*.drift-*"))


def test_a_palace_that_cannot_be_counted_stays_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert quarantine_miscounted_hnsw(tmp_path) == []
    (tmp_path / "chroma.sqlite3").write_bytes(b"no database" * 100)
    assert quarantine_miscounted_hnsw(tmp_path) == []
    assert "could not be counted and stays as it is" in caplog.text


def test_a_palace_that_may_not_be_written_to_is_not_opened(bench: Bench) -> None:
    """No injected error: a directory without the permission, and a process without privileges."""
    palace = healthy(bench, "idle", RAW)
    (segment,) = segment_directories(palace)
    with bench.worker(palace, fixes=Fixes.reported("quarantine").words()) as worker:
        worker.do("powerless")
        palace.chmod(0o555)
        try:
            refusal = worker.refused("open")
        finally:
            palace.chmod(0o755)
        assert (refusal.name, refusal.effect) == ("SetAsideError", "none")
        assert f"{segment} could not be set aside (Permission denied)" in refusal.text
        assert segment.is_dir()
        worker.do("open")
    assert not segment.is_dir() or list(palace.glob(f"{segment.name}.drift-*"))
