"""Texts in a palace on every release: one row for one content, one model for one collection."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from palace_store.fixes import Fixes

sys.path.append(str(Path(__file__).parent / "entries"))
from store_bench import Bench, Told

pytestmark = [pytest.mark.slow, pytest.mark.s3, pytest.mark.timeout(600)]

A, B = "stand-in-a", "stand-in-b"
TEXTS = [f"memory {number} of the garden" for number in range(12)]
NAME_A, NAME_B = (f"stand-in/{model}@1 (64 dimensions, normalised)" for model in (A, B))


@pytest.fixture
def place(bench: Bench, tmp_path: Path) -> Bench:
    return Bench(bench.release, bench.host, tmp_path)


@contextmanager
def workers(place: Bench, *models: str, **options: Any) -> Iterator[list[Told]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(place.worker(entry="text_entries:serve", model=model, **options))
            for model in models
        ]


def test_a_content_is_one_row_wherever_it_is_told_again(place: Bench) -> None:
    with workers(place, A, A) as (one, two):
        assert one.do("add", texts=TEXTS) == [True] * 12
        assert two.do("add", texts=TEXTS[:3]) == [False] * 3
        assert two.do("embedded") == 0  # what is there is not embedded again
        assert two.do("add", texts=[TEXTS[0], "new", "new", "Gr\u00fc\u00dfe"]) == [
            False, True, False, True,
        ]  # fmt: skip
        assert two.do("embedded") == 2
        assert two.do("add", texts=["Gru\u0308\u00dfe"]) == [False]
        for where in ({"namespace": "n"}, {"source_file": "a.md"}, {"start_line": 7}):
            assert one.do("add", texts=TEXTS[:1], **where) == [True]
        assert one.do("count") == 17
        assert one.do("models") == {A: 17}
        rows = one.do("get")
        assert [TEXTS[0], "default", "a.md", 0, {}] in rows
        assert [TEXTS[0], "default", "", 7, {}] in rows


def test_of_one_content_twice_in_a_call_the_first_is_stored(place: Bench) -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    with workers(place, A) as (one,):
        told = one.do(
            "contents",
            contents=[
                {"text": composed, "metadata": {"told": 1}},
                {"text": apart, "metadata": {"told": 2}},
            ],
        )
        assert told == [True, False]
        assert one.do("get") == [[composed, "default", "", 0, {"told": 1}]]


def test_a_text_is_found_by_its_words_and_deleted_by_its_id(place: Bench) -> None:
    with workers(place, A) as (one,):
        assert one.do("search", text="nothing is there yet") == []
        one.do("add", texts=TEXTS, metadata={"wing": "north"})
        one.do("add", texts=["a recipe for bread"], namespace="kitchen")
        assert one.do("search", text=TEXTS[5])[0] == [TEXTS[5], pytest.approx(0, abs=1e-4)]
        assert one.do("search", text="bread, a recipe", n=1)[0][0] == "a recipe for bread"
        found = one.do("search", text=TEXTS[5], where={"namespace": "kitchen"})
        assert [text for text, _ in found] == ["a recipe for bread"]
        one.do("delete", texts=[TEXTS[5]])
        assert one.do("search", text=TEXTS[5], n=1)[0][0] != TEXTS[5]
        assert one.do("add", texts=[TEXTS[5]]) == [True]
        assert {"wing": "north"} in [row[4] for row in one.do("get")]


def test_a_process_with_another_model_of_the_same_dimension_is_refused(place: Bench) -> None:
    with workers(place, A, B) as (one, other):
        one.do("add", texts=TEXTS)
        for op, args in (("add", {"texts": ["new"]}), ("search", {"text": TEXTS[0]})):
            error = other.refused(op, **args)
            assert error.name == "OtherModelError"
            assert error.effect == "none"
            assert NAME_A in error.text
            assert NAME_B in error.text
        assert other.refused("add", texts=TEXTS[:1]).name == "OtherModelError"
        assert other.do("count") == 12
        assert other.do("recorded") == A
        assert one.do("vectors") == {A: 12}


def test_without_identity_the_store_ends_with_vectors_of_two_models(place: Bench) -> None:
    words = Fixes.all().without("embedding_identity", "embedding_claim").words()
    with workers(place, A, B, fixes=words) as (one, other):
        one.do("add", texts=TEXTS[:8])
        assert other.do("add", texts=TEXTS[4:]) == [True] * 8  # as the report: nobody is told
        assert other.do("count") == 12
        assert other.do("vectors") == {A: 8, B: 4}  # whoever was first
        assert other.do("models") == {"": 12}


def test_a_race_for_one_content_leaves_one_row_of_one_model(place: Bench) -> None:
    with workers(place, A, B) as both:
        for worker in both:
            worker.do("open")
        for worker in both:
            worker.begin("add", texts=TEXTS)
        told = [worker.worker.receive(60) for worker in both]
        (won,) = (number for number, answer in enumerate(told) if "ok" in answer)
        assert told[won]["ok"] == [True] * 12
        assert told[1 - won]["error"] == "OtherModelError"
        assert both[won].do("count") == 12
        assert both[won].do("vectors") == {(A, B)[won]: 12}


def test_of_two_that_race_with_one_model_each_text_is_claimed_by_one(place: Bench) -> None:
    with workers(place, A, A) as both:
        for worker in both:
            worker.do("open")
        for worker in both:
            worker.begin("add", texts=TEXTS)
        one, two = (worker.answer() for worker in both)
        assert [first != second for first, second in zip(one, two, strict=True)] == [True] * 12
        assert both[0].do("vectors") == {A: 12}


def test_a_collection_that_records_no_model_is_given_to_one_first(place: Bench) -> None:
    with workers(place, A, fixes=Fixes.none().words()) as (before,):
        before.do("add", texts=TEXTS)
    with workers(place, A) as (now,):
        for op, args in (("add", {"texts": ["new"]}), ("search", {"text": TEXTS[0]})):
            assert "does not record which model" in now.refused(op, **args).text
        assert now.do("reset") == ["", 12]
        assert now.do("add", texts=["new"]) == [True]
        assert now.do("models") == {A: 13}
        assert now.do("vectors") == {A: 13}


def test_a_row_of_the_low_level_store_is_no_neighbour(place: Bench) -> None:
    with workers(place, A) as (one,):
        one.do("add", texts=TEXTS)
        one.do("low_level", names=["by hand"])
        assert "a model nobody recorded" in one.refused("search", text="by hand").text
        assert one.do("reset") == [NAME_A, 13]
        assert one.do("search", text="by hand")[0][0] == "by hand"
        one.do("low_level", names=["no text"], documents=False)
        assert "has no text that a model could embed" in one.refused("reset").text
        assert one.do("count") == 14
        assert one.do("collections") == ["texts"]  # nothing is left of it


@pytest.mark.parametrize("on", [True, False], ids=["on", "off"])
def test_a_changed_configuration_is_noticed_by_a_living_process(
    place: Bench, tmp_path: Path, on: bool
) -> None:
    words = (Fixes.all() if on else Fixes.all().without("embedding_config")).words()
    config = tmp_path / "embedding.json"
    text = (
        '{"provider": "stand-in", "model": "stand-in-a", "dimension": 64, "normalised": true, '
        '"revision": "1"}'
    )
    config.write_text(text)
    with workers(place, A, fixes=words, config=str(config)) as (server,):
        server.do("add", texts=TEXTS)
        config.write_text(text.replace(A, B))
        if not on:
            assert server.do("add", texts=["later"]) == [True]
            return
        error = server.refused("add", texts=["later"])
        assert error.effect == "none"
        assert NAME_A in error.text
        assert NAME_B in error.text
        assert "restart" in error.text
        assert server.do("search", text=TEXTS[0])[0][0] == TEXTS[0]  # reading is right still
        config.write_text("{")
        assert "configures no embedding model" in server.refused("add", texts=["later"]).text
        config.unlink()
        assert "cannot be read" in server.refused("add", texts=["later"]).text
        config.write_text(text)
        assert server.do("add", texts=["later"]) == [True]


def test_the_reports_lock_file_knows_nothing_of_models(place: Bench) -> None:
    words = Fixes.reported("embedding").words()
    with workers(place, A, B, fixes=words) as (one, other):
        one.do("add", texts=TEXTS[:6])
        error = other.refused("add", texts=TEXTS[6:])
        assert (error.name, error.effect) == ("SingleWriterError", "none")
        one.do("close")
        other.do("add", texts=TEXTS[6:])
        assert other.do("vectors") == {A: 6, B: 6}


def test_a_model_that_does_not_make_what_it_says_is_refused(place: Bench) -> None:
    with place.worker(entry="text_entries:serve", dimension=64, claims=32) as liar:
        error = liar.refused("add", texts=TEXTS)
        assert "of 12 texts" in error.text
        assert liar.do("collections") == []


def test_bad_input_is_refused_and_changes_nothing(place: Bench) -> None:
    with workers(place, A) as (one,):
        one.do("add", texts=TEXTS)
        for bad in ([], "text", [""], ["  \n"], ["a\0b"], ["ok", 3], None):
            error = one.refused("plain", texts=bad)
            assert (error.name, error.effect) == ("PalaceInputError", "none"), bad
        for n in (0, -1, "3"):
            assert one.refused("search", text="x", n=n).name == "PalaceInputError"
        assert one.refused("search", text="").name == "PalaceInputError"
        for where in ({}, [], "x", {"a": None}, {"$bad": 1}, {"a": {"$gt": "x"}}, {"$and": []}):
            assert one.refused("search", text="x", where=where).name == "PalaceInputError", where
        both = {"$or": [{"namespace": "a"}, {"$bad": 1}]}
        assert "no operator '$bad'" in one.refused("search", text="x", where=both).text
        assert one.do("count") == 12
