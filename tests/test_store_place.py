"""A path that can hold no palace is refused with one sentence, and nothing is written there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from palace_store.errors import PalaceInputError, UnusablePalaceError
from palace_store.lease import Lease
from palace_store.state import place_of
from palace_store.triples import TripleStore

sys.path.append(str(Path(__file__).parent / "entries"))
from store_bench import Bench

GARBAGE = b"no database, though it has the name of one" * 100


def place(root: Path, kind: str) -> Path:
    """Make a place of a kind that no palace can be at."""
    (root / "file").write_bytes(GARBAGE)
    (root / "loop").symlink_to(root / "loop")
    return {
        "file": root / "file",
        "below a file": root / "file" / "palace",
        "loop of links": root / "loop",
        "too long a name": root / ("x" * 300),
        "kernel's folder": Path("/proc/palace"),
    }[kind]


KINDS = ["file", "below a file", "loop of links", "too long a name", "kernel's folder"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["exclusive", "shared"])
def test_what_can_be_no_palace_is_refused(tmp_path: Path, kind: str, how: str) -> None:
    wrong = place(tmp_path, kind)
    with pytest.raises(UnusablePalaceError) as caught, getattr(Lease(wrong), how)():
        pass
    said = str(caught.value)
    assert said.startswith(f"{wrong} cannot be used as a palace (")
    assert said.endswith("it has to be a folder that this user may write to")
    assert caught.value.effect == "none"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "loop"]
    assert (tmp_path / "file").read_bytes() == GARBAGE


@pytest.mark.parametrize("path", ["", "a\0b", "a\ud800b", None, 5, b"bytes"])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(PalaceInputError, match="cannot be the path of a palace: name a folder"):
        place_of(path)
    with pytest.raises(PalaceInputError, match="cannot be the path of a palace"):
        TripleStore(path)


def test_a_store_stays_where_it_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with TripleStore("palace") as store:
        store.add("ada", "knows", "bob")
        monkeypatch.chdir(tmp_path / "elsewhere")
        store.add("ada", "knows", "eve")
        store.close()
    assert place_of("../palace") == tmp_path / "palace"
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.slow
@pytest.mark.s1
@pytest.mark.parametrize("op", ["open", "count_only"])
def test_a_file_of_chromadbs_name_that_is_no_database_is_left_alone(bench: Bench, op: str) -> None:
    palace = bench.directory / f"garbage-{op}"
    palace.mkdir()
    (palace / "chroma.sqlite3").write_bytes(GARBAGE)
    with bench.worker(palace) as worker:
        error = worker.refused(op)
        assert (error.name, error.effect) == ("UnusablePalaceError", "none")
        assert "is none of chromadb's (file is not a database)" in error.text
    assert (palace / "chroma.sqlite3").read_bytes() == GARBAGE
