"""Whose vectors a palace has, read from its files: on palaces of every release, ruined by hand."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from palace_lab.history.segment import Recorder
from palace_lab.targets.base import Context
from palace_lab.targets.drawer_vectors import DrawerVectorsTarget
from palace_lab.targets.vectors import VectorsTarget
from palace_lab.workloads.texts import content
from palace_lab.workloads.vectors import document, drawer_id
from palace_store.embedding import HashEmbedder
from palace_store.fixes import Fixes

sys.path.append(str(Path(__file__).parent / "entries"))
from server_bench import Server, Site, ok, play
from store_bench import Bench

pytestmark = [pytest.mark.slow, pytest.mark.s3]

A, B = "stand-in-a", "stand-in-b"
NUMBERS = count()
WITHOUT = Fixes.all().without("embedding_identity").words()


def wrote(bench: Bench, palace: Path, model: str, numbers: range, **options: Any) -> None:
    with bench.worker(palace, entry="text_entries:serve", model=model, **options) as told:
        for number in numbers:
            told.do("add", texts=[content(number).text], source_file=content(number).source_file)
        told.do("close")


def read(
    palace: Path, scratch: Path, most: int = 20, target: type[VectorsTarget] = VectorsTarget
) -> dict[str, Any]:
    context = Context(
        palace=palace,
        process="reader",
        recorder=Recorder(scratch / f"reader-{next(NUMBERS)}.hist", "reader"),
        pause=lambda _: None,
        seed=0,
    )
    return target(context).models(numbers=list(range(most)))


def changed(palace: Path, statement: str, *values: str) -> None:
    with closing(sqlite3.connect(palace / "chroma.sqlite3")) as db, db:
        assert db.execute(statement, values).rowcount


def test_each_vector_is_counted_under_its_model(bench: Bench, tmp_path: Path) -> None:
    palace = tmp_path / "palace"
    wrote(bench, palace, A, range(6), fixes=WITHOUT)
    wrote(bench, palace, B, range(4, 9), fixes=WITHOUT)
    wrote(bench, palace, "stand-in-x", range(9, 11), fixes=WITHOUT)
    found = read(palace, tmp_path)
    assert {model: sorted(numbers) for model, numbers in found["models"].items()} == {
        A: [0, 1, 2, 3, 4, 5],
        B: [6, 7, 8],
    }
    assert sorted(found["unknown"]) == [9, 10]
    assert (found["without_vector"], found["mislabelled"], found["recorded"]) == ([], [], "")


def test_labels_are_compared_with_the_vectors(bench: Bench, tmp_path: Path) -> None:
    palace = tmp_path / "palace"
    wrote(bench, palace, A, range(8))
    found = read(palace, tmp_path)
    assert sorted(found["models"][A]) == list(range(8))
    assert (found["mislabelled"], found["recorded"]) == ([], A)
    word = HashEmbedder(B, 64).identity.word()
    changed(
        palace,
        "UPDATE embedding_metadata SET string_value = ? WHERE key = 'embedding' AND id = "
        "(SELECT id FROM embeddings WHERE embedding_id = ?)",
        word,
        content(3).id,
    )
    changed(palace, "UPDATE collection_metadata SET str_value = ? WHERE key = 'embedding'", word)
    found = read(palace, tmp_path)
    assert (found["mislabelled"], found["recorded"]) == ([3], B)
    of_before = word.replace(B, A).replace('"revision":"1"', '"revision":"0"')
    changed(
        palace,
        "UPDATE embedding_metadata SET string_value = ? WHERE key = 'embedding' AND id = "
        "(SELECT id FROM embeddings WHERE embedding_id = ?)",
        of_before,
        content(5).id,
    )
    changed(palace, "DELETE FROM collection_metadata WHERE key = 'embedding'")
    changed(
        palace,
        "DELETE FROM embedding_metadata WHERE key = 'embedding' AND id = "
        "(SELECT id FROM embeddings WHERE embedding_id = ?)",
        content(3).id,
    )
    found = read(palace, tmp_path)
    assert (found["mislabelled"], found["unlabelled"], found["recorded"]) == ([5], [3], "")


def test_a_row_without_a_vector_is_named(bench: Bench, tmp_path: Path) -> None:
    palace = tmp_path / "palace"
    wrote(bench, palace, A, range(4), sync_threshold=1000, batch_size=100)
    changed(palace, "DELETE FROM embeddings_queue WHERE id = ?", content(2).id)
    assert read(palace, tmp_path)["without_vector"] == [2]


def test_no_collection_has_no_models(bench: Bench, tmp_path: Path) -> None:
    palace = tmp_path / "palace"
    with bench.worker(palace, entry="text_entries:serve") as told:
        told.do("open")
        told.do("close")
    assert read(palace, tmp_path)["models"] == {}


def test_the_drawers_of_servers_are_counted_under_the_models_of_these(tmp_path: Path) -> None:
    site, palace = Site(tmp_path / "site"), tmp_path / "palace"

    def served(model: str, numbers: range) -> None:
        async def story(client: Client) -> None:
            for number in numbers:
                await ok(client, "add_drawer", content=document(number), id=drawer_id(number))

        fixes = ("--fixes", " ".join(WITHOUT))
        play(Server("1.5.9", site, palace, *fixes, "--model", model), story)

    served(A, range(4))
    served(B, range(2, 6))
    found = read(palace, tmp_path, target=DrawerVectorsTarget)
    assert {model: sorted(numbers) for model, numbers in found["models"].items()} == {
        A: [0, 1, 2, 3],
        B: [4, 5],
    }
    assert (found["unknown"], found["without_vector"]) == ([], [])
    assert read(palace, tmp_path)["models"] == {}  # no texts
