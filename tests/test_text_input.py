"""The key of a text, what is refused of one, and the configuration of a model."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palace_store.embedding import HashEmbedder, Identity
from palace_store.embedding_config import Configuration, read_configuration, write_configuration
from palace_store.errors import OtherModelError, PalaceInputError
from palace_store.text_input import RESERVED, Content, check_contents

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(TEXT)
def test_the_hash_is_the_reports(text: str) -> None:
    normal = unicodedata.normalize("NFC", text)
    assert Content(text).content_hash == hashlib.sha256(normal.encode()).hexdigest()
    decomposed = Content(unicodedata.normalize("NFD", text))
    assert (
        decomposed.id == Content(text).id or unicodedata.normalize("NFC", decomposed.text) != normal
    )


PARTS = st.tuples(TEXT, st.text(max_size=3), st.text(max_size=3), st.integers(0, 3))


@given(PARTS, PARTS)
def test_two_keys_are_one_only_if_every_part_is(one: Any, other: Any) -> None:
    first, second = Content(*one), Content(*other)
    same = (first.content_hash, *one[1:]) == (second.content_hash, *other[1:])
    assert (first.id == second.id) == same


def test_a_row_gives_the_content_back() -> None:
    content = Content("a text", "work", "notes.md", 12, {"wing": "north"})
    assert Content.of_row("a text", {**content.row(), "embedding": "{}"}) == content


BAD: dict[str, Any] = {
    "no list": "text",
    "bytes": b"text",
    "nothing": [],
    "a number": [3],
    "empty": [""],
    "blank": [" \t\n"],
    "NUL": ["a\0b"],
    "half a surrogate pair": ["\ud800"],
    "a namespace that is none": [Content("x", namespace=3)],  # type: ignore[arg-type]  # the case
    "a long source file": [Content("x", source_file="x" * 5000)],
    "a surrogate in the source file": [Content("x", source_file="\ud800")],
    "a line before the first": [Content("x", start_line=-1)],
    "a line that is True": [Content("x", start_line=True)],
    "a line beyond 64 bits": [Content("x", start_line=2**63)],
    "metadata that is none": [Content("x", metadata=[])],  # type: ignore[arg-type]  # the case
    "metadata with a list": [Content("x", metadata={"a": [1]})],
    **{f"the key {key}": [Content("x", metadata={key: 1})] for key in sorted(RESERVED)},
}


@pytest.mark.parametrize("what", BAD)
def test_bad_contents_are_refused_in_a_sentence(what: str) -> None:
    with pytest.raises(PalaceInputError, match="nothing was written") as caught:
        check_contents(BAD[what])
    assert "\n" not in str(caught.value)


def test_good_contents_are_taken_as_they_are() -> None:
    given_ = ["a text", Content("other", metadata={"wing": 1})]
    assert check_contents(given_) == [Content("a text"), Content("other", metadata={"wing": 1})]


# The configuration -------------------------------------------------------------------------------

OLD, NEW = HashEmbedder("old").identity, HashEmbedder("new").identity


def test_a_configuration_is_read_back(tmp_path: Path) -> None:
    write_configuration(tmp_path / "embedding.json", OLD)
    assert read_configuration(tmp_path / "embedding.json") == OLD
    assert list(tmp_path.iterdir()) == [tmp_path / "embedding.json"]


def test_a_change_is_noticed_and_so_is_its_end(tmp_path: Path) -> None:
    path = tmp_path / "embedding.json"
    write_configuration(path, OLD)
    ours = Configuration(path, OLD)
    ours.refuse_changed()
    write_configuration(path, NEW)
    for _ in range(2):
        with pytest.raises(OtherModelError) as caught:
            ours.refuse_changed()
        assert (caught.value.ours, caught.value.recorded) == (str(OLD), str(NEW))
    write_configuration(path, OLD)
    ours.refuse_changed()


def test_a_change_that_keeps_size_and_times_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "embedding.json"
    one, other = HashEmbedder("one").identity, HashEmbedder("two").identity
    write_configuration(path, one)
    ours, before = Configuration(path, one), path.stat()
    ours.refuse_changed()
    path.write_text(path.read_text().replace('"one"', '"two"'))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(OtherModelError) as caught:
        ours.refuse_changed()
    assert caught.value.recorded == str(other)


def test_two_models_that_read_alike_are_told_by_their_fields(tmp_path: Path) -> None:
    path = tmp_path / "embedding.json"
    one = Identity("hf", "org/m", 8, normalised=True, revision="")
    other = Identity("hf/org", "m", 8, normalised=True, revision="")
    assert str(one) == str(other)
    write_configuration(path, other)
    with pytest.raises(OtherModelError, match=r'"provider":"hf/org".* was started with .*"hf"'):
        Configuration(path, one).refuse_changed()


def test_a_row_of_another_program_is_read_as_far_as_it_goes() -> None:
    row = {"start_line": "12-20", "source_file": "a.md", "wing": "w"}
    assert Content.of_row("text", row) == Content("text", "default", "a.md", 0, {"wing": "w"})


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"model": "m"}', b"\xff", b" " * 100_000])
def test_what_configures_nothing_is_said_with_its_path(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "embedding.json"
    path.write_bytes(raw)
    with pytest.raises(PalaceInputError, match=r"embedding\.json"):
        read_configuration(path)
    with pytest.raises(PalaceInputError, match=r"embedding\.json"):
        Configuration(path, OLD).refuse_changed()


def test_a_configuration_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PalaceInputError, match="pipe is not a regular file"):
        read_configuration(tmp_path / "pipe")


def test_a_configuration_that_cannot_be_read_lets_nobody_write(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "embedding.json"):
        with pytest.raises(PalaceInputError, match="cannot be read"):
            Configuration(path, OLD).refuse_changed()
