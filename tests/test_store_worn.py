"""Palaces of every older release, worn by lot: what is there is kept, and one opening is enough.

Unlike test_store_torn.py these have several collections in one log, deleted and replaced drawers,
and damage of several kinds at once: to index files, directories, watermarks and the log.
"""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from palace_store.anatomy import survey

sys.path.append(str(Path(__file__).parent / "entries"))
from store_bench import NEWEST, Bench, Told, set_aside, wrong_at_rest

pytestmark = [pytest.mark.slow, pytest.mark.s1]

FIXTURES = Path(__file__).parent.parent / "fixtures"
OLD = ("0.4.24", "0.5.23", "0.6.3", "1.0.21", "1.3.7", "1.5.9")
STATEMENTS = {
    "watermarks 0": (
        "UPDATE max_seq_id SET seq_id = CASE typeof(seq_id) WHEN 'blob' THEN zeroblob(8) ELSE 0 END"
    ),
    "watermarks deleted": "DELETE FROM max_seq_id",
    "watermarks too low": (
        "UPDATE max_seq_id SET seq_id = "
        "CASE typeof(seq_id) WHEN 'blob' THEN x'0000000000000005' ELSE 5 END"
    ),
    "watermarks of another era": "UPDATE max_seq_id SET seq_id = x'00000000000000ff'",
    "log emptied": "DELETE FROM embeddings_queue",
    "log without its end": (
        "DELETE FROM embeddings_queue "
        "WHERE seq_id > (SELECT max(seq_id) - 12 FROM embeddings_queue)"
    ),
}


def key(release: str) -> tuple[int, ...]:
    return tuple(map(int, release.split(".")))


def bytes_changed(file: Path, lot: random.Random) -> str:
    data = bytearray(file.read_bytes())
    at = lot.randrange(len(data) or 1)
    how = lot.choice(["gone", "cut", "bits", "zeros"])
    if how == "gone":
        file.unlink()
        return f"{file.name} gone"
    if how == "cut":
        del data[at:]
    elif how == "zeros":
        end = min(len(data), at + lot.randint(1, 2000))
        data[at:end] = bytes(end - at)
    else:
        for _ in range(lot.randint(1, 8) if data else 0):
            data[lot.randrange(len(data))] = lot.randrange(256)
    file.write_bytes(data)
    return f"{file.name}: {how} at {at}"


def in_files(palace: Path, lot: random.Random) -> str:
    files = sorted(file for file in palace.glob("*-*/*") if "." not in file.parent.name)
    return bytes_changed(lot.choice(files), lot) if files else "nothing left"


def directory(palace: Path, lot: random.Random) -> str:
    left = sorted(path for path in palace.glob("*-*") if path.is_dir() and "." not in path.name)
    if not left:
        return "nothing left"
    one = lot.choice(left)
    if lot.random() < 0.5:
        shutil.rmtree(one)
        return "an index gone"
    one.rename(f"{one}.drift-20260101-0000{lot.randint(10, 59)}")
    return "an index set aside"


def in_tables(palace: Path, lot: random.Random) -> str:
    name = lot.choice(sorted(STATEMENTS))
    with closing(sqlite3.connect(palace / "chroma.sqlite3")) as connection, connection:
        connection.execute(STATEMENTS[name])
    return name


HARM: tuple[Callable[[Path, random.Random], str], ...] = (in_files, in_files, directory, in_tables)


def rows_of(worker: Told) -> dict[str, set[str]]:
    return {at: set(worker.do("listed", at=at)) for at in worker.do("collections")}


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(3), id="few"),
        pytest.param([*range(3, 10), *range(1000, 1300)], id="many", marks=pytest.mark.nightly),
    ],
)
@NEWEST
@pytest.mark.timeout(2400)
def test_one_opening_brings_a_worn_palace_to_rest(bench: Bench, seeds: Sequence[int]) -> None:
    readable = [made for made in OLD if key(made) <= key(bench.release)]
    for seed in seeds:
        lot = random.Random(seed)  # noqa: S311  (no secret)
        made = lot.choice(readable)
        palace = bench.copied(FIXTURES / f"chroma-{made}" / "palace")
        done = [lot.choice(HARM)(palace, lot) for _ in range(lot.randint(1, 3))]
        print(seed, made, done)
        comes_to_rest(bench, palace, made, done)


def comes_to_rest(bench: Bench, palace: Path, made: str, done: list[str]) -> None:
    answers: dict[str, Any] = json.loads((FIXTURES / f"chroma-{made}" / "answers.json").read_text())
    whole = not any(each.startswith("log ") for each in done)
    with bench.worker(palace) as worker:
        rows = rows_of(worker)
        if whole:  # rows that the log had and the table had not yet are gone with it
            assert rows == {at: set(each["drawers"]) for at, each in answers.items()}
        worker.do("close")
        before = set_aside(palace)
        for _ in range(2):
            lost = {at: worker.do("unfindable", at=at) for at in rows}
            assert rows_of(worker) == rows
            worker.do("close")
            assert set_aside(palace) == before, "made anew again"
    for each in survey(palace).collections:
        assert wrong_at_rest(each, lost[each.name]) == set(), each.name
        assert set(lost[each.name]) >= set(each.unrecoverable)
