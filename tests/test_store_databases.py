"""A palace may have collections of other tenants and databases, by the same names: left alone.

The library works in chromadb's default tenant and database. The files of the others' indexes lie
beside its own, their rows and their log in the same tables.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from palace_store.anatomy import survey

sys.path.append(str(Path(__file__).parent / "entries"))
from harm import unlink
from store_bench import NEWEST, Bench, Told, set_aside

pytestmark = [pytest.mark.slow, pytest.mark.s1]

OURS, THEIRS = range(40), range(30)
FULL_NAME = "acme/books/drawers"
ENTRY = "elsewhere_entries:serve"
DOCUMENTS = sorted(f"{number} at 1" for number in THEIRS)
IDS = [f"drawer-{number:04d}" for number in THEIRS]


@pytest.fixture
def palace(bench: Bench) -> Path:
    """Return a palace of raw chromadb with two collections of one name."""
    shutil.rmtree(bench.palace, ignore_errors=True)
    with bench.worker(entry=ENTRY) as worker:
        worker.do("raw_put", numbers=list(OURS))
    with bench.worker(entry=ENTRY) as worker:
        worker.do("raw_elsewhere", numbers=list(THEIRS), revision=1)
    assert {each.name for each in survey(bench.palace).collections} == {"drawers", FULL_NAME}
    return bench.palace


def index_elsewhere(palace: Path) -> Path:
    segment = survey(palace).collection(FULL_NAME).segment
    assert segment is not None
    return segment.path


def ours_are_found(worker: Told) -> None:
    found = worker.do("look")
    assert found["lost"] == []
    assert found["documents"] == {f"drawer-{number:04d}": f"{number} at 0" for number in OURS}
    assert worker.do("unfindable") == []


@NEWEST
def test_both_are_brought_under_retention_and_neither_is_made_anew(
    bench: Bench, palace: Path
) -> None:
    with bench.worker(entry=ENTRY) as worker:
        ours_are_found(worker)
        assert worker.do("collections") == ["drawers"]
    assert set_aside(palace) == []
    assert all(each.log_complete for each in survey(palace).collections)
    with bench.worker(entry=ENTRY) as worker:
        assert worker.do("raw_elsewhere_found") == {"documents": DOCUMENTS, "found": IDS}


@NEWEST
def test_what_is_torn_elsewhere_is_mended_there(bench: Bench, palace: Path) -> None:
    with bench.worker(entry=ENTRY) as worker:
        ours_are_found(worker)
    torn = index_elsewhere(palace)
    os.truncate(torn / "index_metadata.pickle", 40)
    with bench.worker(entry=ENTRY) as worker:
        ours_are_found(worker)
        worker.do("put", numbers=[0])
    assert {each.partition(".")[0] for each in set_aside(palace)} == {torn.name}
    with bench.worker(entry=ENTRY) as worker:
        assert worker.do("raw_elsewhere_found") == {"documents": DOCUMENTS, "found": IDS}


@NEWEST
def test_what_is_lost_elsewhere_is_not_said_of_ours(bench: Bench, palace: Path) -> None:
    shutil.rmtree(index_elsewhere(palace))
    with bench.worker(entry=ENTRY) as worker:
        ours_are_found(worker)
        assert f"of '{FULL_NAME}' are in no file" in worker.worker.log.read_text()
        assert worker.do("warned", number=3) == []


@NEWEST
def test_what_no_link_leads_to_elsewhere_is_not_written_into_ours(
    bench: Bench, palace: Path
) -> None:
    with bench.worker(entry=ENTRY) as worker:
        ours_are_found(worker)
    gone = unlink(index_elsewhere(palace), 2)
    assert gone
    with bench.worker(entry=ENTRY) as worker:
        ours_are_found(worker)
        worker.do("put", numbers=[39])
        ours_are_found(worker)


@NEWEST
def test_of_two_collections_of_one_name_only_ours_is_exchanged(bench: Bench, palace: Path) -> None:
    with bench.worker(entry=ENTRY) as worker:
        worker.do("put", numbers=[1, 2], at="second")
    with bench.worker(entry=ENTRY) as worker:
        worker.do("exchange", at="drawers", new="second", old="first")
        assert worker.do("collections") == ["drawers", "first"]
        assert len(worker.do("listed")) == len([1, 2])
    names = {each.name for each in survey(palace).collections}
    assert names == {"drawers", "first", FULL_NAME}
