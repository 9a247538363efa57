"""What is refused before anything is written, and how moments are kept."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palace_store.triple_input import TEXT_BYTES_MAX, moment
from palace_store.triples import (
    MANY_MAX,
    BadDateError,
    BadTripleError,
    NewTriple,
    TripleStore,
)

PLAIN = st.datetimes().filter(lambda when: 1 < when.year < 9999)


@given(PLAIN, PLAIN)
def test_the_order_of_the_texts_is_the_order_of_the_moments(a: datetime, b: datetime) -> None:
    one, two = moment("a", a.isoformat()), moment("b", b.isoformat(sep=" "))
    assert (one < two) == (a < b)
    assert (one == two) == (a == b)
    assert moment("a", one) == one


BAD_TEXTS = {
    "": "is empty",
    " \t\n": "is empty",
    "a\0b": "has a NUL at position 1",
    "ab\ud800": "has a lone surrogate at position 2",
    "x" * (TEXT_BYTES_MAX + 1): "is too long",
    "ö" * (TEXT_BYTES_MAX // 2 + 1): "is too long",
}


@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize("bad", [*BAD_TEXTS, None, 7, b"x"], ids=lambda bad: repr(bad)[:12])
def test_bad_text_is_refused_before_anything_is_written(
    tmp_path: Path, place: int, bad: object
) -> None:
    row: list[object] = ["s", "p", "o", "2024-01-01", "source", "key"]
    row[place] = bad
    if bad is None and place > 2:
        return  # may be left out
    with TripleStore(tmp_path) as store:
        good = NewTriple("good", "p", "o")
        expected = BadDateError if place == 3 else BadTripleError
        with pytest.raises(expected) as caught:
            store.add_many([good, NewTriple(*row)])  # type: ignore[arg-type]  # the point
        reason = BAD_TEXTS.get(bad, "pass a str") if isinstance(bad, str) else "pass a"
        assert place == 3 or reason in str(caught.value)
        assert isinstance(caught.value, ValueError)
        assert len(str(caught.value)) < 250
        assert store.count() == 0


def test_the_longest_text_is_taken_whole(tmp_path: Path) -> None:
    longest = "ö" * (TEXT_BYTES_MAX // 2)
    with TripleStore(tmp_path) as store:
        store.add(longest, "p", "o")
        assert store.query(longest)[0].subject == longest


@pytest.mark.parametrize(
    "bad",
    [
        "2024-02-30", "2024-13-01", "0000-01-01", "24-01-01", "2024-1-1", "yesterday", "20240101",
        "2024-W01-1", "2024-01-01T", "2024-01-01T24:00", "2024-01-01T12:60", "2024-01-01T12",
        "2024-01-01T12:00:00.1234567", "2024-01-01T12:00.5", "2024-01-01 12:00+25:00",
        "0001-01-01T00:00+02:00", "9999-12-31T23:59-02:00", "2024-01-01\n", "٢٠٢٤-01-01", "", 5,
    ],
)  # fmt: skip
def test_what_is_not_a_date_is_refused(tmp_path: Path, bad: str) -> None:
    with TripleStore(tmp_path) as store:
        store.add("s", "p", "kept")
        for attempt in (
            lambda: store.add("s", "p", "o", valid_from=bad),
            lambda: store.invalidate("s", "p", "kept", ended=bad),
            lambda: store.query("s", as_of=bad),
        ):
            with pytest.raises(BadDateError, match=r"is not a date|pass an ISO date"):
                attempt()
        assert [triple.ended for triple in store.all()] == [None]


def test_a_date_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with TripleStore(tmp_path) as store, pytest.raises(BadDateError) as caught:
        store.add("s", "p", "o", valid_from="2024-02-30")
    assert str(caught.value).startswith("valid_from: 2024-02-30 is not a date: day")


def test_other_bad_requests_are_refused(tmp_path: Path) -> None:
    with TripleStore(tmp_path) as store:
        wrong: list[Any] = [
            ["spo"],
            [("s", "p")],
            [("s", "p", "o", "2024-01-01", "x", "k", "more")],
        ]
        wrong += [[{"s", "p", "o"}], [{"s": 1, "p": 2, "o": 3}], [5], [None], [b"spo"]]
        for rows in wrong:
            with pytest.raises(BadTripleError, match="is no triple"):
                store.add_many(rows)
        for no_list in (None, 5, "spo", {"a": 1}):
            with pytest.raises(BadTripleError, match="is no list of triples"):
                store.add_many(no_list)  # type: ignore[arg-type]  # the point
        with pytest.raises(BadTripleError, match="add them in parts"):
            store.add_many(("s", "p", str(n)) for n in range(MANY_MAX + 1))
        with pytest.raises(BadTripleError, match="direction 'up' is unknown"):
            store.query("s", direction="up")  # type: ignore[arg-type]  # the point
        with pytest.raises(BadTripleError, match="is unknown"):
            store.query("s", direction=["in"])  # type: ignore[arg-type]  # the point
        assert store.add_many([]) == []
        assert store.count() == 0
    for scale in (0, -1, float("nan"), float("inf"), 1e9, "x"):
        with pytest.raises(ValueError, match="time_scale"):
            TripleStore(tmp_path, time_scale=scale)  # type: ignore[arg-type]  # the point
