"""Palaces of others, log purged and index torn: nobody dies, and what is there comes back."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from palace_lab.environments import ensure
from palace_store.anatomy import survey
from palace_store.fixes import Fixes

sys.path.append(str(Path(__file__).parent / "entries"))
from store_bench import NEWEST, Bench, Told, by_day, set_aside, wrong_at_rest

pytestmark = [pytest.mark.slow, pytest.mark.s1]

COUNT = 43
KNOWN = {f"drawer-{number:04d}" for number in range(COUNT)}
#: Bytes of header.bin: the entry of every search, and fields nothing works without.
ENTRY, VERSION, CAPACITY, ELEMENTS, LABEL = 56, 0, 12, 20, 36


@pytest.fixture(scope="module")
def made(bench: Bench) -> Path:
    """Return a palace that chromadb alone wrote, all but the last drawers only in its index."""
    palace = bench.directory / "made"
    with bench.worker(palace) as raw:
        raw.do("raw_put", numbers=list(range(COUNT)))
        raw.do("raw_close")
    return palace


@pytest.fixture(scope="module")
def noted(bench: Bench, made: Path) -> Path:
    """Return the same, after the metadata of some drawers alone were changed."""
    palace = bench.copied(made, "noted")
    with bench.worker(palace) as raw:
        raw.do("raw_note", numbers=[3, 20, 41], revision=9)
        raw.do("raw_close")
    return palace


def index_file(palace: Path, name: str) -> Path:
    return next(palace.glob(f"*-*/{name}"))


def overwritten(at: int, value: int, *, name: str = "header.bin") -> Callable[[Path], None]:
    def harm(palace: Path) -> None:
        file = index_file(palace, name)
        data = bytearray(file.read_bytes())
        data[at : at + 4] = value.to_bytes(4, "little")
        file.write_bytes(data)

    return harm


def removed(name: str) -> Callable[[Path], None]:
    return lambda palace: index_file(palace, name).unlink()


def emptied(name: str) -> Callable[[Path], None]:
    return lambda palace: index_file(palace, name).write_bytes(b"") and None


def longer(name: str) -> Callable[[Path], None]:
    def harm(palace: Path) -> None:
        with index_file(palace, name).open("ab") as file:
            file.write(b"\xff" * 100)

    return harm


def zeroed_lists(palace: Path) -> None:
    file = index_file(palace, "link_lists.bin")
    file.write_bytes(bytes(file.stat().st_size))


def nothing(_: Path) -> None:
    """Leave the index as it is."""


#: Of all of these data_level0.bin and the pickle still hold each vector and whose it is.
HARM: dict[str, Callable[[Path], None]] = {
    "none": nothing,
    "searches begin at an element of the ground": overwritten(ENTRY, 22),
    "searches begin nowhere": overwritten(ENTRY, 1000),
    "another version": overwritten(VERSION, 9),
    "no room": overwritten(CAPACITY, 0),
    "an earlier flush's header": overwritten(ELEMENTS, 20),
    "header of more": overwritten(ELEMENTS, 5000),
    "another shape": overwritten(LABEL, 900),
    "header gone": removed("header.bin"),
    "header empty": emptied("header.bin"),
    "links gone": removed("link_lists.bin"),
    "links zero": zeroed_lists,
    "links of others": overwritten(8, 0xFFFFFFFF, name="link_lists.bin"),
    "lengths gone": removed("length.bin"),
    "a length of 6e21": overwritten(8, 0x63A2A8D6, name="length.bin"),
    "a length below 0": overwritten(8, 0xBF800000, name="length.bin"),
    "pickle longer": longer("index_metadata.pickle"),
}
#: What somebody may have done to the watermarks; the last but one is advice one finds.
MARKS = {
    "as they were": "SELECT 1",
    "zero": (
        "UPDATE max_seq_id SET seq_id = CASE typeof(seq_id) WHEN 'blob' THEN zeroblob(8) ELSE 0 END"
    ),
    "deleted": "DELETE FROM max_seq_id",
    "of the index deleted": (
        "DELETE FROM max_seq_id "
        "WHERE segment_id IN (SELECT id FROM segments WHERE scope = 'VECTOR')"
    ),
}


#: What somebody may have done to the log.
LOGS = {
    "as it was": "SELECT 1",
    "emptied": "DELETE FROM embeddings_queue",
    "without its end": (
        "DELETE FROM embeddings_queue WHERE seq_id > (SELECT max(seq_id) - 2 FROM embeddings_queue)"
    ),
}


def marked(palace: Path, how: str, log: str = "as it was") -> None:
    with closing(sqlite3.connect(palace / "chroma.sqlite3")) as connection, connection:
        connection.execute(MARKS[how])
        connection.execute(LOGS[log])


def at_rest(worker: Told, palace: Path) -> None:
    """Check that all has been done that can be: nothing is made anew, or wrong but what is lost."""
    lost = worker.do("unfindable")
    worker.do("close")
    before = set_aside(palace)
    for _ in range(2):
        worker.do("open")
        worker.do("close")
        assert set_aside(palace) == before
    (each,) = survey(palace).collections
    assert wrong_at_rest(each, lost) == set()


def seen_twice(worker: Told) -> list[str]:
    """Return what searches do not find, after seeing the rest, and that writing goes on."""
    found = worker.do("look")
    assert set(found["documents"]) == KNOWN
    assert found["count"] == COUNT
    worker.do("put", numbers=[900])
    worker.do("close")
    again = worker.do("look")
    assert set(again["documents"]) == {*KNOWN, "drawer-0900"}
    assert again["lost"] == found["lost"]
    lost: list[str] = found["lost"]
    return lost


@pytest.mark.parametrize("marks", by_day(MARKS, ("as they were", "deleted")))
@pytest.mark.parametrize("harm", HARM)
@NEWEST
def test_every_vector_that_a_file_holds_comes_back(
    bench: Bench, made: Path, harm: str, marks: str
) -> None:
    palace = bench.copied(made)
    HARM[harm](palace)
    marked(palace, marks)
    with bench.worker(palace) as worker:
        assert seen_twice(worker) == []
        assert worker.do("state")["retained"]
    with bench.worker(palace) as raw:  # and raw chromadb finds it well
        raw.do("raw_put", numbers=[901])
        raw.do("raw_close")


def test_each_collection_has_numbers_enough(bench: Bench) -> None:
    """Records that are put back take no number that another collection's rows have."""
    palace = bench.directory / "several"
    shutil.rmtree(palace, ignore_errors=True)
    at = {"second": range(20), "first": range(20, 40), "third": range(40, 60)}
    with bench.worker(palace) as raw:
        for collection, numbers in at.items():
            raw.do("raw_put", numbers=list(numbers), at=collection)
        for collection in reversed(at):
            raw.do("raw_put", numbers=[at[collection][0]], revision=1, at=collection)
        raw.do("raw_close")
    marked(palace, "deleted")
    with bench.worker(palace) as worker:
        for collection, numbers in at.items():
            found = worker.do("look", at=collection)
            assert set(found["documents"]) == {f"drawer-{number:04d}" for number in numbers}
            assert found["lost"] == []
        assert worker.do("state")["retained"]
        worker.do("close")
        worker.do("forget_index")
        for collection in at:
            assert worker.do("look", at=collection)["lost"] == []


@pytest.mark.parametrize("harm", ["searches begin at an element of the ground", "links zero"])
def test_what_reading_the_files_does_not_find_a_canary_does(
    bench: Bench, made: Path, harm: str
) -> None:
    """Either of the two keeps this process from dying of an index that others left."""
    palace = bench.copied(made)
    HARM[harm](palace)
    with bench.worker(palace, fixes=Fixes.all().without("read_back").words()) as worker:
        assert worker.do("look")["lost"] == []
        assert "opened a copy" in worker.worker.log.read_text()
    assert not (palace / ".palace" / "canary").exists()


def damaged(palace: Path, lot: random.Random) -> str:
    """Change the bytes of one index file by lot, and say how."""
    file = lot.choice(sorted(palace.glob("*-*/*")))
    data = bytearray(file.read_bytes())
    at = lot.randrange(len(data))
    how = lot.choice(["cut", "zero", "ones", "flip", "longer"])
    if how == "cut":
        del data[at:]
    elif how == "zero":
        data[at : at + 512] = bytes(len(data[at : at + 512]))
    elif how == "ones":
        data[at : at + 8] = b"\xff" * len(data[at : at + 8])
    elif how == "flip":
        data[at] ^= 1 << lot.randrange(8)
    else:
        data += lot.randbytes(50)
    file.write_bytes(data)
    return f"{file.name}: {how} at {at}"


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(12), id="few"),
        pytest.param(range(1000, 1400), id="many", marks=pytest.mark.nightly),
    ],
)
@pytest.mark.timeout(1200)
@NEWEST
def test_no_damage_by_lot_kills_or_keeps_from_writing(
    bench: Bench, made: Path, noted: Path, seeds: range
) -> None:
    for seed in seeds:
        lot = random.Random(seed)  # noqa: S311  (no secret)
        palace = bench.copied(lot.choice([made, noted]))
        done = [damaged(palace, lot) for _ in range(lot.choice([1, 1, 2]))]
        mark, log = lot.choice(sorted(MARKS)), lot.choice(["as it was", *sorted(LOGS)])
        print(seed, done, mark, log)
        marked(palace, mark, log)
        with bench.worker(palace) as worker:
            seen_twice(worker)
            at_rest(worker, palace)


def test_a_canary_ends_by_itself_where_nobody_waits_for_it(bench: Bench, made: Path) -> None:
    """Whoever sent it may be killed while it is stuck in a torn index."""
    stuck = (
        "import sys, threading\n"
        "from palace_store import canary\n"
        "canary.TIMEOUT_S = 1\n"
        "canary.catch_up = lambda *_: threading.Event().wait()\n"
        "canary.main(__import__('pathlib').Path(sys.argv[1]), ())\n"
    )
    python = ensure(bench.release).python
    done = subprocess.run(
        [str(python), "-c", stuck, str(bench.copied(made))],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "lab")},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGALRM, done.stderr
