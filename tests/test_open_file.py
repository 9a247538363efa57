"""A knowledge graph or memory file that is removed, replaced or torn under who has it open."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from palace_store.errors import PalaceError
from palace_store.local import LocalStore
from palace_store.triples import TripleStore


@dataclass
class Kind:
    """One of the two stores, by what both can do."""

    open: Callable[[Path], Any]
    add: Callable[[Any, str], object]
    words: Callable[[Any], list[str]]
    file: str


KINDS = {
    "graph": Kind(
        open=TripleStore,
        add=lambda store, word: store.add(word, "is", "there"),
        words=lambda store: [each.subject for each in store.all()],
        file="knowledge.sqlite3",
    ),
    "memories": Kind(
        open=LocalStore,
        add=lambda store, word: store.store(word),
        words=lambda store: sorted(each.content for each in store.all()),
        file="memories.sqlite3",
    ),
}


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def live(kind: Kind, tmp_path: Path) -> Iterator[Any]:
    with kind.open(tmp_path / "palace") as store:
        kind.add(store, "before")
        yield store


def test_what_is_acknowledged_after_a_removal_is_in_the_palace(
    kind: Kind, live: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(tmp_path / "palace")
    kind.add(live, "after")
    assert "was removed while this process had it open" in caplog.text
    with kind.open(tmp_path / "palace") as other:
        assert kind.words(other) == ["after"]
    assert kind.words(live) == ["after"]


def test_a_reader_sees_the_palace_that_took_the_place(
    kind: Kind, live: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "palace").rename(tmp_path / "aside")
    with kind.open(tmp_path / "palace") as other:
        kind.add(other, "new")
        assert kind.words(live) == ["new"]
        assert "was replaced while this process had it open" in caplog.text
        kind.add(live, "of the living")
        assert kind.words(other) == ["new", "of the living"]
        # The old one was closed, and SQLite left the log of the new one alone.
        assert (tmp_path / "palace" / f"{kind.file}-wal").stat().st_size > 0
    with kind.open(tmp_path / "aside") as before:
        assert kind.words(before) == ["before"]


def test_what_cannot_be_opened_anew_is_told_each_time_and_then_goes_on(
    kind: Kind, live: Any, tmp_path: Path
) -> None:
    (tmp_path / "palace").rename(tmp_path / "aside")
    (tmp_path / "palace").write_text("a file")
    for _ in range(2):
        with pytest.raises(PalaceError, match="cannot be used"):
            kind.add(live, "after")
    (tmp_path / "palace").unlink()
    (tmp_path / "aside").rename(tmp_path / "palace")
    kind.add(live, "later")
    assert kind.words(live) == ["before", "later"]


def test_a_torn_file_is_one_sentence(kind: Kind, live: Any, tmp_path: Path) -> None:
    live.close()
    path = tmp_path / "palace" / kind.file
    with kind.open(tmp_path / "palace") as store:
        path.write_bytes(b"\0" * path.stat().st_size)
        for call in (lambda: kind.add(store, "after"), lambda: kind.words(store)):
            with pytest.raises(PalaceError, match=f"{kind.file} is damaged .* from a copy") as told:
                call()
            assert isinstance(told.value.__cause__, sqlite3.DatabaseError)


def test_two_threads_close_at_once(kind: Kind, tmp_path: Path) -> None:
    for number in range(20):
        store = kind.open(tmp_path / str(number))
        raised: list[BaseException] = []
        together = threading.Barrier(2)

        def close(store: Any = store, together: threading.Barrier = together) -> None:
            together.wait(10)
            try:
                store.close()
            except PalaceError as error:
                raised.append(error)  # noqa: B023  (each thread ends within its round)

        threads = [threading.Thread(target=close) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert raised == []
