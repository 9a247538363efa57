"""A search tells the truth: it finds what peers wrote, and says what it cannot find."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from palace_store.anatomy import survey

sys.path.append(str(Path(__file__).parent / "entries"))
from drift_bench import Ruins, ask, write
from harm import unlink
from store_bench import Bench

pytestmark = [pytest.mark.slow, pytest.mark.s1]

PEERS = range(100, 112)


@pytest.mark.parametrize(("sync_threshold", "batch_size"), [(1000, 100), (10, 5)])
@pytest.mark.parametrize("target", ["palace", "chroma"])
def test_how_late_a_long_lived_reader_finds_a_peers_drawer(
    bench: Bench, tmp_path: Path, target: str, sync_threshold: int, batch_size: int
) -> None:
    """Ours in its very next search; a raw one in none, though it counts every one of them."""
    shape = {"dimension": 16, "sync_threshold": sync_threshold, "batch_size": batch_size}
    ruins = Ruins(bench.host, tmp_path, **shape)
    palace = tmp_path / "palace"
    palace.mkdir()
    with ruins.worker(palace, target, 1) as writer, ruins.worker(palace, target, 1) as reader:
        ask(writer, "open")
        write(writer, range(3))
        ask(reader, "open")
        assert ask(reader, "found", wanted=[[0, 0]])["missing"] == []
        late = []
        for number in PEERS:
            write(writer, range(number, number + 1))
            late += ask(reader, "found", wanted=[[number, 0]])["missing"]
            assert ask(reader, "count") == 3 + number - PEERS.start + 1
    assert late == ([] if target == "palace" else list(PEERS))


def purged(bench: Bench) -> Path:
    """Return a palace of raw chromadb with 40 drawers, most of them no longer in its log."""
    palace = bench.directory / "purged"
    shutil.rmtree(palace, ignore_errors=True)
    with bench.worker(palace) as raw:
        raw.do("raw_put", numbers=list(range(40)))
        raw.do("raw_close")
    return palace


def test_a_search_says_what_no_search_can_find(bench: Bench) -> None:
    palace = purged(bench)
    shutil.rmtree(next(palace.glob("*/index_metadata.pickle")).parent)
    with bench.worker(palace) as worker:
        (said,) = worker.do("warned", number=1)
        lost = worker.do("look")["lost"]
        assert 30 < len(lost) < 40, "some are still in the log"
        assert set(said["ids"]) <= set(lost)
        assert len(lost) - 1 <= said["missing"] == len(said["ids"])
        assert (said["collection"], said["rows"]) == ("drawers", 40)
        assert f"{said['missing']} or more of the 40 drawers of 'drawers'" in said["text"]
        assert worker.do("warned", number=39) == [said]  # every search says so
        worker.do("put", numbers=[50])
        assert worker.do("find", number=50) == ["drawer-0050"]


def test_a_whole_palace_gives_no_warning(bench: Bench) -> None:
    with bench.worker(purged(bench)) as worker:
        assert worker.do("warned", number=1) == []


def test_what_no_link_leads_to_chromadb_does_not_find_and_anatomy_names(bench: Bench) -> None:
    palace = purged(bench)
    segment = survey(palace).collection("drawers").segment
    assert segment is not None
    (name,) = unlink(segment.path, 1)
    (said,) = survey(palace).findings
    assert (said.kind, said.severity, said.ids) == ("index-unreachable", "warning", (name,))
    with bench.worker(palace, fixes=[]) as raw:
        assert raw.do("look")["lost"] == [name]
