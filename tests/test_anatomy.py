"""Anatomy against real palaces: agreement with chromadb's own answers, and every kind of damage."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import shutil
import sqlite3
import struct
import subprocess
import sys
import time
import tracemalloc
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palace_store.anatomy import hnsw_files  # isort: skip
from palace_store.anatomy import (
    KINDS,
    AnatomyError,
    CollectionSurvey,
    LogRecord,
    Survey,
    Vectors,
    assert_no_client,
    decode_seq_id,
    parse_index_pickle,
    read_segment,
    read_tables,
    survey,
)
from palace_store.anatomy.database_file import open_database
from palace_store.anatomy.links import above_ground
from palace_store.anatomy.plain_pickle import RECORD_NAME
from palace_store.anatomy.records import ADD, DELETE, UPDATE, UPSERT
from palace_store.anatomy.replay import IN_INDEX, apply_to_index, apply_to_rows, replay_log

sys.path.append(str(Path(__file__).parent / "entries"))
from dead_writers import HOT_JOURNAL
from harm import cut_off

FIXTURES = Path(__file__).parent.parent / "fixtures"
MANIFEST: dict[str, Any] = json.loads((FIXTURES / "manifest.json").read_text())
HEALTHY = sorted(name for name, entry in MANIFEST.items() if entry["state"] == "healthy")
BOTH_ERAS = ["chroma-0.6.3", "chroma-1.5.9"]
#: The collections of a fixture whose index was written.
INDEXED = ("drawers", "angles")


@pytest.fixture(params=BOTH_ERAS)
def palace(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return _copied(request.param, tmp_path)


def _copied(name: str, into: Path) -> Path:
    target = into / "palace"
    shutil.copytree(FIXTURES / name / "palace", target)
    return target


def _execute(palace: Path, *statements: str) -> None:
    database = sqlite3.connect(palace / "chroma.sqlite3")
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


def _directory(palace: Path, collection: str = "drawers") -> Path:
    name = read_tables(palace).collections
    found = next(each.vector_segment for each in name if each.name == collection)
    assert found is not None
    return palace / found


def _tree(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(file.relative_to(folder)): (
            hashlib.sha256(file.read_bytes()).hexdigest(),
            file.stat().st_mtime_ns,
        )
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


# --- healthy palaces: the oracle is what chromadb answered -------------------------------------


def test_the_manifest_names_every_release_worth_a_column() -> None:
    assert {"0.4.24", "0.5.23", "0.6.3", "1.0.21", "1.3.7", "1.5.9"} <= {
        entry["release"] for entry in MANIFEST.values()
    }


@pytest.mark.parametrize("name", sorted(MANIFEST))
def test_a_fixture_is_what_the_manifest_says(name: str) -> None:
    there = {file: digest for file, (digest, _) in _tree(FIXTURES / name).items()}
    assert there == MANIFEST[name]["sha256"]


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_palace_gives_no_finding_and_is_not_touched(name: str) -> None:
    before = _tree(FIXTURES / name)
    seen = survey(FIXTURES / name / "palace")
    assert seen.findings == ()
    assert seen.healthy
    assert _tree(FIXTURES / name) == before


@pytest.mark.parametrize("name", HEALTHY)
def test_anatomy_agrees_with_what_chromadb_answered(name: str) -> None:
    seen = survey(FIXTURES / name / "palace")
    answers = json.loads((FIXTURES / name / "answers.json").read_text())
    assert {each.name for each in seen.collections} == set(answers)
    for each in seen.collections:
        said = answers[each.name]
        assert each.collection.settings.space == said["space"]
        assert sorted(each.ids) == sorted(said["drawers"])
        assert len(each.ids) == said["count"]
        for vectors in (each.served_vectors(), each.vectors()):
            assert sorted(vectors.ids) == sorted(said["drawers"])
            _equal_answers(vectors, said)


def _equal_answers(vectors: Vectors, said: dict[str, Any]) -> None:
    for ident, vector in zip(vectors.ids, vectors.matrix, strict=True):
        wanted = np.frombuffer(bytes.fromhex(said["drawers"][ident]["vector"]), "<f4")
        np.testing.assert_allclose(vector, wanted, rtol=1e-5, atol=1e-6)


def test_the_oldest_fixture_keeps_its_number_in_the_pickle_and_its_log_whole() -> None:
    each = survey(FIXTURES / "chroma-0.4.24" / "palace").collection("drawers")
    assert each.segment is not None
    assert each.segment.index is not None
    assert each.vector_watermark is None
    assert each.vector_start == each.segment.index.max_seq_id == 120
    assert each.log_complete
    assert any(where != IN_INDEX for where in each.served.values()), "no tail in the log"


@pytest.mark.parametrize("name", [name for name in HEALTHY if name != "chroma-0.4.24"])
def test_the_fixtures_hold_what_makes_agreement_hard(name: str) -> None:
    seen = survey(FIXTURES / name / "palace")
    each = seen.collection("drawers")
    assert each.segment is not None
    assert each.segment.header is not None
    assert each.segment.deleted.any(), "no element is marked deleted"
    assert any(where != IN_INDEX for where in each.served.values()), "no tail in the log"
    assert each.index_ids - set(each.ids), "no element waits for its deletion"
    assert not each.log_complete, "the log was not purged"
    assert seen.collection("few").log_complete
    assert not seen.collection("few").index_ids
    angles = seen.collection("angles")
    assert angles.segment is not None
    stored = angles.segment.vectors(sorted(angles.index_ids))
    np.testing.assert_allclose(np.linalg.norm(stored, axis=1), 1, rtol=1e-5)


def test_eras_and_thresholds_are_read() -> None:
    eras = {name: read_tables(FIXTURES / name / "palace") for name in HEALTHY}
    assert eras["chroma-0.6.3"].era == "blob"
    assert eras["chroma-1.5.9"].era == "integer"
    for name, tables in eras.items():
        assert tables.automatically_purge == (name != "chroma-0.4.24")  # from 0.5.6 on
        drawers = next(each for each in tables.collections if each.name == "drawers")
        assert (drawers.settings.sync_threshold, drawers.settings.batch_size) == (20, 10)
        assert {mark.storage for mark in tables.watermarks.values()} == {tables.era}


def test_blob_row_numbers_under_integer_watermarks_are_harmless(tmp_path: Path) -> None:
    palace = _copied("chroma-1.5.9", tmp_path)
    hexed = "printf('%016x', seq_id)"
    database = sqlite3.connect(palace / "chroma.sqlite3")
    for rowid, digits in database.execute(f"SELECT id, {hexed} FROM embeddings").fetchall():  # noqa: S608 - a constant
        database.execute(
            "UPDATE embeddings SET seq_id = ? WHERE id = ?", (bytes.fromhex(digits), rowid)
        )
    database.commit()
    database.close()
    assert survey(palace).findings == ()


def test_tables_and_columns_of_older_releases_may_be_absent(palace: Path) -> None:
    database = sqlite3.connect(palace / "chroma.sqlite3")
    have = {row[1] for row in database.execute("PRAGMA table_info(collections)")}
    database.close()
    dropped = [
        f"ALTER TABLE collections DROP COLUMN {name}"
        for name in ("config_json_str", "schema_str")
        if name in have
    ]
    _execute(
        palace,
        *dropped,
        "DROP TABLE embeddings_queue_config",
        "DELETE FROM migrations WHERE dir = 'embeddings_queue' AND version = 2",
    )
    tables = read_tables(palace)
    assert tables.queue_config is None
    assert not tables.automatically_purge
    assert survey(palace).findings == ()


# --- reading without touching ------------------------------------------------------------------


def _in_child(code: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, timeout=60)


DIE_IN_WAL = """
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA journal_mode = WAL")
db.execute("PRAGMA wal_autocheckpoint = 0")
db.execute("UPDATE collections SET name = 'renamed' WHERE name = 'never'")
os._exit(0)
"""


def test_a_hot_journal_is_honoured_on_a_copy(palace: Path) -> None:
    wanted = survey(palace).collection("drawers").ids
    _in_child(HOT_JOURNAL, str(palace / "chroma.sqlite3"))
    assert (palace / "chroma.sqlite3-journal").stat().st_size > 0
    plain = sqlite3.connect(f"file:{palace / 'chroma.sqlite3'}?immutable=1", uri=True)
    with pytest.raises(AssertionError, match="lost"):
        _require_rows(plain, len(wanted))
    plain.close()
    before = _tree(palace)
    assert survey(palace).collection("drawers").ids == wanted
    assert _tree(palace) == before


def _require_rows(database: sqlite3.Connection, at_least: int) -> None:
    """Fail as a reader that ignores the journal does."""
    try:
        count = database.execute("SELECT count(*) FROM embeddings").fetchone()[0]
    except sqlite3.DatabaseError:
        count = 0
    assert count >= at_least, "rows are lost"


def test_a_write_ahead_log_is_honoured_on_a_copy(palace: Path) -> None:
    _in_child(DIE_IN_WAL, str(palace / "chroma.sqlite3"))
    (palace / "chroma.sqlite3-shm").unlink()
    before = _tree(palace)
    assert "renamed" in {each.name for each in survey(palace).collections}
    assert _tree(palace) == before


def test_wal_mode_without_a_log_creates_nothing(palace: Path) -> None:
    _execute(palace, "PRAGMA journal_mode = WAL")
    before = _tree(palace)
    assert not any("wal" in name for name in before)
    assert survey(palace).findings == ()
    assert _tree(palace) == before


def test_a_copy_says_the_same(palace: Path, tmp_path: Path) -> None:
    own = tmp_path / "mine.sqlite3"
    shutil.copy(palace / "chroma.sqlite3", own)
    tables = read_tables(palace)
    assert read_tables(palace, copy=True) == tables
    assert read_tables(palace, database=own) == tables


def test_an_open_database_in_this_process_is_refused(palace: Path, tmp_path: Path) -> None:
    assert_no_client(palace)
    link = tmp_path / "link"
    link.symlink_to(palace)
    database = sqlite3.connect(palace / "chroma.sqlite3")
    database.execute("SELECT 1 FROM collections").fetchall()
    for path in (palace, palace / "chroma.sqlite3", link):
        with pytest.raises(AnatomyError, match="process of its own") as refused:
            assert_no_client(path)
        assert refused.value.kind == "client-open"
    for copy in (False, True):
        with pytest.raises(AnatomyError, match="locks"):
            read_tables(palace, copy=copy)
    database.close()
    assert_no_client(palace)
    assert survey(palace).findings == ()


def test_reading_leaves_no_descriptor_and_no_scratch(
    palace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    read_tables(palace, copy=True)
    assert list(scratch.iterdir()) == []
    assert_no_client(palace)


# --- damage: each kind of finding can be found -------------------------------------------------


def _header_fields(directory: Path) -> tuple[Any, ...]:
    return struct.unpack("<i6QiI3QdQ", (directory / "header.bin").read_bytes())


def _patch(file: Path, at: int, new: bytes) -> None:
    with file.open("r+b") as handle:
        handle.seek(at)
        handle.write(new)


def _segment_gone(palace: Path) -> None:
    shutil.rmtree(_directory(palace))


def _set_aside(palace: Path) -> None:
    directory = _directory(palace)
    directory.rename(f"{directory}.drift-20250101-000000")


def _unknown_label(palace: Path) -> None:
    segment = read_segment(_directory(palace))
    assert segment.header is not None
    alive = segment.located["drawer-100"]
    at = alive * segment.header.record_bytes + segment.header.label_offset
    _patch(segment.path / "data_level0.bin", at, struct.pack("<Q", 4_000_000))


def _cut_off(palace: Path) -> None:
    cut_off(_directory(palace), "drawer-100")


def _other_vector(palace: Path) -> None:
    """Give the log a record below the watermark whose vector the index does not hold."""
    _execute(
        palace,
        "INSERT INTO embeddings_queue (seq_id, operation, topic, id, vector, encoding) "
        "SELECT 1, 2, topic, 'drawer-100', vector, encoding FROM embeddings_queue "
        "WHERE id = 'drawer-130' AND topic LIKE '%' || "
        "(SELECT id FROM collections WHERE name = 'drawers')",
    )


def _peer_row(palace: Path) -> None:
    """Put a row the pickle does not know below the watermark, as a second writer does."""
    _drop_tail(palace)
    low = "x'0000000000000002'" if _era(palace) == "blob" else "2"
    _execute(palace, f"UPDATE embeddings SET seq_id = {low} WHERE embedding_id = 'drawer-130'")  # noqa: S608 - a test's constant


def _wild_link(palace: Path) -> None:
    _patch(_directory(palace) / "data_level0.bin", 4, struct.pack("<I", 1 << 31))


def _vector_mark(palace: Path, value: str) -> None:
    segment = _directory(palace).name
    _execute(palace, f"UPDATE max_seq_id SET seq_id = {value} WHERE segment_id = '{segment}'")  # noqa: S608 - a test's constant


def _bloat(palace: Path) -> None:
    os.truncate(_directory(palace) / "link_lists.bin", 8 << 30)


def _drop_tail(palace: Path) -> None:
    _execute(palace, "DELETE FROM embeddings_queue WHERE id = 'drawer-130'")


def _cut_pickle(palace: Path) -> None:
    os.truncate(_directory(palace) / "index_metadata.pickle", 400)


def _ground_entry(palace: Path) -> None:
    """Let every search begin at an element that has no links above the ground."""
    segment = survey(palace).collection("drawers").segment
    assert segment is not None
    lists = (_directory(palace) / "link_lists.bin").read_bytes()
    ground = set(range(len(segment.records))) - set(above_ground(lists, len(segment.records)))
    _patch(_directory(palace) / "header.bin", 56, struct.pack("<I", min(ground)))


def _no_lists(palace: Path) -> None:
    file = _directory(palace) / "link_lists.bin"
    file.write_bytes(bytes(file.stat().st_size))


def _link_to_ground(palace: Path) -> None:
    """Let the first list above the ground lead to an element that has none."""
    file = _directory(palace) / "link_lists.bin"
    segment = survey(palace).collection("drawers").segment
    assert segment is not None
    above = above_ground(file.read_bytes(), len(segment.records))
    ground = min(set(range(len(segment.records))) - set(above))
    _patch(file, 4 * above[0] + 4, struct.pack("<II", 1, ground))


def _length(palace: Path, new: bytes) -> None:
    """Only in cosine space chromadb keeps the vectors' lengths."""
    segment = survey(palace).collection("angles").segment
    assert segment is not None
    at = 4 * next(iter(segment.located.values()))
    _patch(segment.path / "length.bin", at, new)


def _zero_vector(palace: Path) -> None:
    """Let one vector be of zeros, as chromadb keeps it."""
    _length(palace, bytes(4))
    segment = survey(palace).collection("angles").segment
    assert segment is not None
    assert segment.header is not None
    at = next(iter(segment.located.values())) * segment.header.record_bytes
    vector = bytes(4 * segment.header.dimension)
    _patch(segment.path / "data_level0.bin", at + segment.header.vector_offset, vector)


def _longer_pickle(palace: Path) -> None:
    with (_directory(palace) / "index_metadata.pickle").open("ab") as file:
        file.write(b"more")


#: A second one for the vectors of every collection; its id begins with the digits given.
SECOND_SEGMENT = (
    "INSERT INTO segments (id, type, scope, collection) "
    "SELECT '{}' || substr(id, 9), type, scope, collection FROM segments WHERE scope = 'VECTOR'"
)

DAMAGE: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "link_lists.bin grown": (_bloat, {"bloated-file"}),
    "config is no JSON": (
        lambda p: _execute(p, "UPDATE embeddings_queue_config SET config_json_str = '{'"),
        {"config-unreadable"},
    ),
    "config of a collection is no JSON": (
        lambda p: _execute(
            p, "UPDATE collections SET config_json_str = '{nope' WHERE name = 'few'"
        ),
        {"config-unreadable"},
    ),
    "collection removed by hand": (
        lambda p: _execute(p, "DELETE FROM collections WHERE name = 'few'"),
        {"segment-ownerless"},
    ),
    "segments removed by hand": (
        lambda p: _execute(p, "DELETE FROM segments"),
        {"segment-unlisted"},
    ),
    "segments of rows removed by hand": (
        lambda p: _execute(p, "DELETE FROM segments WHERE scope = 'METADATA'"),
        {"segment-unlisted"},
    ),
    "segments of vectors removed by hand": (
        lambda p: _execute(p, "DELETE FROM segments WHERE scope = 'VECTOR'"),
        {"segment-unlisted"},
    ),
    "segments of no known type": (
        lambda p: _execute(p, "UPDATE segments SET type = 'urn:x' WHERE scope = 'VECTOR'"),
        {"segment-unlisted"},
    ),
    "segments twice": (
        lambda p: _execute(p, SECOND_SEGMENT.format("11111111")),
        {"segment-twice"},
    ),
    "words deleted": (
        lambda p: _execute(p, "DELETE FROM embedding_fulltext_search WHERE rowid < 40"),
        {"text-unindexed"},
    ),
    "rows given to no segment": (
        lambda p: _execute(
            p,
            "UPDATE embeddings SET segment_id = 'nobody' WHERE segment_id = (SELECT s.id FROM "
            "segments s JOIN collections c ON s.collection = c.id WHERE c.name = 'drawers' "
            "AND s.scope = 'METADATA')",
        ),
        {"rows-ownerless"},
    ),
    "tenants gone": (lambda p: _execute(p, "DELETE FROM tenants"), {"owner-missing"}),
    "databases gone": (lambda p: _execute(p, "DELETE FROM databases"), {"owner-missing"}),
    "database of nobody": (
        lambda p: _execute(p, "UPDATE collections SET database_id = 'x' WHERE name = 'few'"),
        {"owner-missing"},
    ),
    "migrations gone": (lambda p: _execute(p, "DROP TABLE migrations"), {"tables-incomplete"}),
    "migrations of a part gone": (
        lambda p: _execute(p, "DELETE FROM migrations WHERE dir = 'sysdb'"),
        {"tables-incomplete"},
    ),
    "a migration gone": (
        lambda p: _execute(p, "DELETE FROM migrations WHERE dir = 'metadb' AND version = 2"),
        {"tables-incomplete"},
    ),
    "full-text index gone": (
        lambda p: _execute(p, "DROP TABLE embedding_fulltext_search"),
        {"tables-incomplete"},
    ),
    "label overwritten": (
        _unknown_label,
        {"count-mismatch", "element-unknown", "vectors-missing", "unrecoverable"},
    ),
    "dimension changed": (
        lambda p: _execute(p, "UPDATE collections SET dimension = 17 WHERE name = 'drawers'"),
        {"dimension-mismatch", "log-unreadable", "vectors-missing", "unrecoverable"},
    ),
    "dimension gone": (
        lambda p: _execute(p, "UPDATE collections SET dimension = NULL WHERE name = 'drawers'"),
        {"dimension-missing"},
    ),
    "row of a second writer": (
        _peer_row,
        {"index-drift", "vectors-missing", "unrecoverable", "vectors-doubtful"},
    ),
    "rows deleted": (
        lambda p: _execute(p, "DELETE FROM embeddings WHERE embedding_id = 'drawer-100'"),
        {"index-only", "row-missing"},
    ),
    "rows and other texts deleted": (
        lambda p: _execute(
            p,
            "DELETE FROM embeddings WHERE embedding_id = 'drawer-100'",
            "DELETE FROM embedding_metadata WHERE id < 4",
        ),
        {"index-only", "row-missing", "text-missing"},
    ),
    "texts deleted": (
        lambda p: _execute(p, "DELETE FROM embedding_metadata WHERE id < 4"),
        {"text-missing"},
    ),
    "wild link": (_wild_link, {"index-torn"}),
    "log record lost": (_drop_tail, {"log-gap", "vectors-missing", "unrecoverable"}),
    "log vector cut": (
        lambda p: _execute(p, "UPDATE embeddings_queue SET vector = x'00' WHERE id = 'drawer-130'"),
        {"log-unreadable", "vectors-missing", "unrecoverable"},
    ),
    "pickle removed": (
        lambda p: (_directory(p) / "index_metadata.pickle").unlink(),
        {"pickle-missing", "vectors-missing", "unrecoverable"},
    ),
    "pickle hostile": (
        lambda p: (
            (_directory(p) / "index_metadata.pickle").write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
            and None
        ),
        {"pickle-refused", "vectors-missing", "unrecoverable"},
    ),
    "pickle cut": (_cut_pickle, {"pickle-torn", "vectors-missing", "unrecoverable"}),
    "set aside": (
        _set_aside,
        {"quarantined-directories", "segment-missing", "vectors-missing"},
    ),
    "segment removed": (_segment_gone, {"segment-missing", "vectors-missing", "unrecoverable"}),
    "segment id leads elsewhere": (
        lambda p: _execute(p, "UPDATE segments SET id = '../' || id WHERE scope = 'VECTOR'"),
        {"segment-name"},
    ),
    "row number is text": (
        lambda p: _execute(
            p, "UPDATE embeddings SET seq_id = 'x' WHERE embedding_id = 'drawer-100'"
        ),
        {"seq-id-unreadable"},
    ),
    "searches begin on the ground": (_ground_entry, {"index-torn"}),
    "links above the ground gone": (_no_lists, {"index-torn"}),
    "link to the ground": (_link_to_ground, {"index-torn"}),
    "no length": (lambda p: _length(p, b"\xff" * 4), {"index-torn"}),
    "length zero": (lambda p: _length(p, bytes(4)), {"index-torn"}),
    "pickle longer": (_longer_pickle, {"pickle-torn"}),
    "no link leads there": (_cut_off, {"index-unreachable"}),
    "vector overwritten": (_other_vector, {"vector-mismatch", "vectors-doubtful"}),
    "watermark beyond all": (
        lambda p: _vector_mark(p, "x'0000000000100000'" if "blob" in _era(p) else "1048576"),
        {"watermark-impossible", "vectors-missing"},
    ),
    "watermark is text": (lambda p: _vector_mark(p, "'none'"), {"watermark-type"}),
}


#: What may follow from a damage besides its own name.
CONSEQUENCES = {"vectors-missing", "unrecoverable", "index-only", "vector-mismatch"}


def _era(palace: Path) -> str:
    return read_tables(palace).era


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_and_named(name: str, palace: Path) -> None:
    harm, expected = DAMAGE[name]
    harm(palace)
    before = _tree(palace) if "grown" not in name else None
    seen = survey(palace)
    assert seen.kinds() >= expected
    extra = seen.kinds() - expected
    assert extra <= CONSEQUENCES, extra
    for finding in seen.findings:
        assert finding.sentence.endswith(".")
        assert "\n" not in finding.sentence
    assert before is None or _tree(palace) == before


def test_a_pickle_that_was_not_read_is_not_called_torn(
    palace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hnsw_files, "PICKLE_BYTES_MAX", 10)
    assert survey(palace).healthy  # no larger than a database of that size allows
    monkeypatch.setattr(hnsw_files, "PICKLE_DATABASES_MAX", 0)
    with pytest.raises(AnatomyError, match="is larger than the 10 bytes") as told:
        survey(palace)
    assert told.value.kind == "too-large"


@pytest.mark.parametrize("first", ["00000000", "ffffffff"])
def test_of_two_segments_the_one_that_was_written_is_read(first: str, palace: Path) -> None:
    whole = survey(palace)
    _execute(palace, SECOND_SEGMENT.format(first))
    seen = survey(palace)
    assert seen.kinds() == {"segment-twice"}
    for each in whole.collections:
        assert seen.collection(each.name).served == each.served
        assert seen.collection(each.name).missing_from_index == ()


#: What is left of collection `never` in 1.x, and of `drawers` in 0.x, when a database is deleted.
@pytest.mark.parametrize("name", ["never", "drawers"])
def test_what_chromadb_leaves_of_a_deleted_database_is_a_note(name: str, palace: Path) -> None:
    _execute(palace, f"DELETE FROM collections WHERE name = '{name}'")  # noqa: S608 - a test's constant
    (finding,) = survey(palace).findings
    left_by_itself = name == "never" or _era(palace) == "blob"
    assert finding.kind == "segment-ownerless"
    assert finding.severity == ("note" if left_by_itself else "warning")


def test_a_vector_of_zeros_has_no_length(palace: Path) -> None:
    _zero_vector(palace)
    assert "index-torn" not in survey(palace).kinds()


def test_a_vector_whose_length_was_emptied_keeps_its_direction(palace: Path) -> None:
    whole = survey(palace).collection("angles")
    assert whole.segment is not None
    units = [whole.vectors(whole.ids).matrix]  # read now: the file is mapped
    (whole.segment.path / "length.bin").write_bytes(bytes(4 * len(whole.segment.records)))
    torn = survey(palace).collection("angles")
    assert torn.unrecoverable == torn.doubtful == ()
    units.append(torn.vectors(whole.ids).matrix)
    sizes = [np.linalg.norm(each, axis=1, keepdims=True) for each in units]
    np.testing.assert_allclose(units[0] / sizes[0], units[1] / sizes[1], atol=1e-6)


def test_a_dimension_that_is_missing_harms_1x_alone(palace: Path) -> None:
    _execute(palace, "UPDATE collections SET dimension = NULL")
    found = {each.collection: each for each in survey(palace).findings}
    assert {each.kind for each in found.values()} == {"dimension-missing"}
    assert set(found) == {"drawers", "few", "angles"}, "not: one that never had a vector"
    wanted = "note" if _era(palace) == "blob" else "damage"
    assert {each.severity for each in found.values()} == {wanted}
    assert all(not each.doubtful for each in survey(palace).collections)


def test_a_half_made_collection_is_no_damage(palace: Path) -> None:
    database = sqlite3.connect(palace / "chroma.sqlite3")
    names = [str(row[1]) for row in database.execute("PRAGMA table_info(collections)")]
    database.close()
    changed = {"id": "'00000000-0000-4000-8000-000000000000'", "name": "'half'"}
    changed |= {"dimension": "NULL", "topic": "'half'"}
    values = ", ".join(changed.get(name, name) for name in names)
    # names of chromadb's own columns
    _execute(palace, f"INSERT INTO collections SELECT {values} FROM collections LIMIT 1")  # noqa: S608
    (finding,) = (each for each in survey(palace).findings if each.severity != "note")
    assert (finding.kind, finding.severity) == ("segment-unlisted", "warning")


def test_a_blob_watermark_where_integers_belong_is_found_and_still_decoded(tmp_path: Path) -> None:
    palace = _copied("chroma-1.5.9", tmp_path)
    whole = survey(palace).collection("drawers")
    assert whole.vector_watermark is not None
    _vector_mark(palace, f"x'{whole.vector_watermark.value:016x}'")
    seen = survey(palace)
    assert seen.kinds() == {"watermark-blob"}
    assert seen.collection("drawers").vector_start == whole.vector_start
    assert seen.collection("drawers").served == whole.served


@pytest.mark.parametrize("made_by", ["0.4.24", "0.5.23", "0.6.3", "1.0.21", "1.5.9"])
@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ("UPDATE max_seq_id SET seq_id = zeroblob(8)", "watermark-impossible"),
        ("DELETE FROM max_seq_id", "watermark-missing"),
    ],
)
def test_a_watermark_of_0_or_none_is_told_where_a_release_cannot_do_with_it(
    made_by: str, change: str, kind: str, tmp_path: Path
) -> None:
    """1.x begins to read where the log does; before 0.5.6 the index has a number of its own."""
    palace = _copied(f"chroma-{made_by}", tmp_path)
    blob = _era(palace) == "blob"
    if "UPDATE" in change and not blob:
        change = "UPDATE max_seq_id SET seq_id = 0"
    _execute(palace, change)
    wrong = blob and not ("DELETE" in change and made_by == "0.4.24")
    seen = survey(palace)
    damage = {finding.kind for finding in seen.findings if finding.severity == "damage"}
    assert (kind in damage) == wrong
    assert (kind in seen.kinds()) == (wrong or "DELETE" in change), "told, as a note"


@pytest.mark.parametrize("value", [10**12, (1 << 63) - 1])
def test_marks_that_are_all_impossible_put_no_vector_in_doubt(value: int, palace: Path) -> None:
    """Healed, the index is what it was and reads the log again: a mended copy has every vector."""
    stored = f"x'{value:016x}'" if _era(palace) == "blob" else str(value)
    _execute(palace, f"UPDATE max_seq_id SET seq_id = {stored}")  # noqa: S608 - a test's constant
    seen = survey(palace)
    assert seen.kinds() - CONSEQUENCES == {"watermark-impossible"}
    assert all(not each.doubtful + each.unrecoverable for each in seen.collections)
    said = [each.sentence for each in seen.findings if each.kind == "watermark-impossible"]
    assert sum("vector watermark" in each for each in said) == len(INDEXED)


def test_every_kind_of_finding_is_proven_here() -> None:
    proven = set().union(*(expected for _, expected in DAMAGE.values()))
    assert proven | {"watermark-blob", "watermark-missing"} == set(KINDS)


@pytest.mark.parametrize("file", ["header.bin", "data_level0.bin", "length.bin", "link_lists.bin"])
@pytest.mark.parametrize("how", ["missing", "empty", "short"])
def test_a_torn_index_file_is_named(file: str, how: str, palace: Path) -> None:
    path = _directory(palace) / file
    if how == "missing":
        path.unlink()
    else:
        os.truncate(path, 0 if how == "empty" else 60)
    seen = survey(palace)
    assert "index-torn" in seen.kinds()
    assert any(file in finding.sentence for finding in seen.findings)


def test_every_vector_whose_label_the_pickle_knows_is_salvaged(palace: Path) -> None:
    directory = _directory(palace)
    whole = read_segment(directory)
    fields = _header_fields(directory)
    os.truncate(directory / "data_level0.bin", fields[4] * 60 + 30)
    torn = read_segment(directory)
    assert len(torn.records) == 60
    wanted = {name for name, element in whole.located.items() if element < 60}
    assert set(torn.located) == wanted
    names = sorted(wanted)
    np.testing.assert_array_equal(torn.vectors(names), whole.vectors(names))


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize("what", ["a label given twice", "nothing", "noise"])
def test_what_a_killed_flush_has_not_written_takes_nothing_from_the_rest(
    name: str, what: str, tmp_path: Path
) -> None:
    """Its header has the new number of elements; their places hold what the memory held."""
    palace = _copied(name, tmp_path)
    said = json.loads((FIXTURES / name / "answers.json").read_text())["drawers"]
    directory = _directory(palace)
    whole = read_segment(directory)
    assert whole.header is not None
    count, size = whole.header.cur_count, whole.header.record_bytes
    fields = list(_header_fields(directory))
    fields[3], fields[2] = count + 3, max(fields[2], count + 3)
    (directory / "header.bin").write_bytes(struct.pack("<i6QiI3QdQ", *fields))
    behind = np.zeros(3, dtype=whole.records.dtype)
    if what != "nothing":
        behind["count"][0] = 60_000
        behind["label"] = whole.labels[:3] if what == "a label given twice" else 1 << 40
        behind["vector"] = 0.5
    _patch(directory / "data_level0.bin", count * size, behind.tobytes())
    seen = survey(palace)
    assert "index-torn" in seen.kinds()
    each = seen.collection("drawers")
    assert each.index_trusted
    assert not each.unrecoverable
    assert not each.doubtful
    assert set(each.vectors().ids) == set(each.ids)
    _equal_answers(each.vectors(), said)


def test_an_element_marked_deleted_answers_nothing(palace: Path) -> None:
    segment = read_segment(_directory(palace))
    assert segment.header is not None
    at = segment.located["drawer-100"] * segment.header.record_bytes
    _patch(segment.path / "data_level0.bin", at + 2, b"\x01")
    seen = survey(palace)
    assert "count-mismatch" in seen.kinds()
    assert seen.collection("drawers").missing_from_index == ("drawer-100",)


def test_what_the_log_still_holds_is_not_unrecoverable(palace: Path) -> None:
    shutil.rmtree(_directory(palace))
    each = survey(palace).collection("drawers")
    assert each.missing_from_index
    assert not set(each.unrecoverable) & each.log_ids
    assert set(each.unrecoverable) <= set(each.missing_from_index)
    assert set(each.vectors().ids) == set(each.ids) - set(each.unrecoverable)


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize("harm", ["header.bin", "set aside"])
def test_what_chromadb_cannot_read_and_a_file_still_holds_is_not_lost(
    name: str, harm: str, tmp_path: Path
) -> None:
    palace = _copied(name, tmp_path)
    said = json.loads((FIXTURES / name / "answers.json").read_text())["drawers"]
    if harm == "set aside":
        _set_aside(palace)
    else:
        (_directory(palace) / harm).unlink()
    each = survey(palace).collection("drawers")
    assert each.missing_from_index or name == "chroma-0.4.24", "its log is whole"
    assert set(each.unserved) == set(each.missing_from_index) - each.log_ids
    assert not each.unrecoverable
    assert "unrecoverable" not in {finding.kind for finding in each.findings}
    assert set(each.vectors().ids) == set(each.ids)
    _equal_answers(each.vectors(), said)


def test_an_index_two_processes_wrote_is_not_believed(palace: Path) -> None:
    assert survey(palace).collection("drawers").index_trusted
    _peer_row(palace)
    each = survey(palace).collection("drawers")
    assert each.overlooked == ("drawer-130",)
    assert not each.index_trusted
    assert set(each.vectors().ids) == each.log_ids
    assert set(each.vectors(doubtful=True).ids) == set(each.ids) - {"drawer-130"}
    logged = {record.id for record in each.collection.log if record.vector_bytes}
    assert logged > each.log_ids
    assert set(each.doubtful) == set(each.ids) - {"drawer-130"} - logged


def test_a_label_that_two_elements_share_is_not_believed(palace: Path) -> None:
    segment = read_segment(_directory(palace))
    assert segment.header is not None
    ours, other = segment.located["drawer-100"], segment.labels[segment.located["drawer-101"]]
    at = ours * segment.header.record_bytes + segment.header.label_offset
    _patch(segment.path / "data_level0.bin", at, struct.pack("<Q", int(other)))
    seen = survey(palace)
    assert "count-mismatch" in seen.kinds()
    assert not seen.collection("drawers").index_trusted


def test_a_first_flush_that_never_finished_is_only_a_warning(palace: Path) -> None:
    """The files are there, the pickle and the watermark are not: the log has everything."""
    directory = _directory(palace)
    (directory / "index_metadata.pickle").unlink()
    _execute(palace, f"DELETE FROM max_seq_id WHERE segment_id = '{directory.name}'")  # noqa: S608 - a test's constant
    found = [each for each in survey(palace).findings if each.kind == "pickle-missing"]
    assert [each.severity for each in found] == ["warning"]


def test_rows_behind_the_log_are_what_chromadb_will_list(palace: Path) -> None:
    """1.x writes the log first: a process killed in between leaves rows that lag behind."""
    whole = survey(palace).collection("drawers")
    segment = whole.collection.metadata_segment
    record = next(each for each in whole.collection.log if each.id == "drawer-130")
    mark = f"x'{record.seq_id - 1:016x}'" if _era(palace) == "blob" else str(record.seq_id - 1)
    _execute(
        palace,
        "DELETE FROM embeddings WHERE embedding_id IN ('drawer-130')",
        f"UPDATE max_seq_id SET seq_id = {mark} WHERE segment_id = '{segment}'",  # noqa: S608 - a test's constant
    )
    seen = survey(palace)
    assert "drawer-130" in seen.collection("drawers").ids
    assert not {each for each in seen.findings if each.collection == "drawers"}


# --- databases that cannot be read -------------------------------------------------------------


def _overwrite(data: bytes) -> Callable[[Path], object]:
    return lambda palace: (palace / "chroma.sqlite3").write_bytes(data)


def _as_fifo(palace: Path) -> None:
    (palace / "chroma.sqlite3").unlink()
    os.mkfifo(palace / "chroma.sqlite3")


ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT"

UNREADABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda p: (p / "chroma.sqlite3").unlink(), "does not exist"),
    "empty": (_overwrite(b""), "is empty"),
    "text": (_overwrite(b"hello" * 100), "is not an SQLite database"),
    "header only": (_overwrite(b"SQLite format 3\x00" + bytes(84)), "cannot be|not a chromadb"),
    "torn": (lambda p: os.truncate(p / "chroma.sqlite3", 9000), "is torn"),
    "fifo": (_as_fifo, "not a regular file"),
    "other application": (
        lambda p: _execute(p, "DROP TABLE collections"),
        "not a chromadb database",
    ),
    "view": (
        lambda p: _execute(
            p,
            "DROP TABLE embeddings_queue",
            f"CREATE VIEW embeddings_queue AS {ENDLESS} x AS seq_id FROM n",
        ),
        "not an ordinary table",
    ),
    "name is a blob": (
        lambda p: _execute(p, "UPDATE collections SET name = CAST(name AS BLOB)"),
        "collection's name is bytes",
    ),
    "schema broken": (
        lambda p: _execute(
            p,
            "PRAGMA writable_schema = ON",
            "UPDATE sqlite_master SET sql = 'CREATE TABLE ((' WHERE name = 'segments'",
        ),
        "cannot be",
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_database_is_one_sentence(name: str, palace: Path) -> None:
    harm, sentence = UNREADABLE[name]
    harm(palace)
    with pytest.raises(AnatomyError, match=sentence) as refused:
        survey(palace)
    assert "\n" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_path_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path, "nul\0nul"):
        with pytest.raises(AnatomyError):
            survey(path)


def test_a_torn_database_never_raises_anything_else(tmp_path: Path) -> None:
    palace = _copied("chroma-1.5.9", tmp_path)
    size = (palace / "chroma.sqlite3").stat().st_size
    for length in range(size - 1, 0, -size // 40):
        os.truncate(palace / "chroma.sqlite3", length)
        with pytest.raises(AnatomyError):
            survey(palace)


def test_reading_is_bounded_in_time(palace: Path) -> None:
    started = time.monotonic()
    with (
        pytest.raises(AnatomyError, match=r"was not read within 0\.2 s") as told,
        open_database(palace, seconds_max=0.2) as connection,
    ):
        connection.execute(f"{ENDLESS} count(*) FROM n").fetchall()
    assert time.monotonic() - started < 30
    assert told.value.kind == "too-long"  # a slow disk says nothing of a file


def test_a_fifo_among_the_index_files_does_not_block(palace: Path) -> None:
    for name in ("data_level0.bin", "index_metadata.pickle", "link_lists.bin"):
        (_directory(palace) / name).unlink()
        os.mkfifo(_directory(palace) / name)
    assert {"index-torn", "pickle-torn"} <= survey(palace).kinds()


def test_headers_that_ask_for_the_moon_are_refused(palace: Path) -> None:
    directory = _directory(palace)
    fields = list(_header_fields(directory))
    for position, value in (
        (2, 1 << 60),
        (3, 1 << 40),
        (4, 1 << 50),
        (5, 3),
        (9, 0),
        (10, 1 << 62),
    ):
        wild = fields.copy()
        wild[position] = value
        if position == 3:
            wild[2] = value
        (directory / "header.bin").write_bytes(struct.pack("<i6QiI3QdQ", *wild))
        tracemalloc.start()
        kinds = {finding.kind for finding in read_segment(directory).findings}
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8 << 20
        if position != 2:
            assert "index-torn" in kinds


def test_a_sparse_giant_is_not_read_through(palace: Path) -> None:
    directory = _directory(palace)
    fields = list(_header_fields(directory))
    fields[2] = fields[3] = 30_000_000
    (directory / "header.bin").write_bytes(struct.pack("<i6QiI3QdQ", *fields))
    os.truncate(directory / "data_level0.bin", fields[3] * fields[4])
    os.truncate(directory / "length.bin", fields[3] * 4)
    segment = read_segment(directory)
    assert len(segment.records) < 3_000_000
    assert any("promises 30000000" in finding.sentence for finding in segment.findings)


@pytest.mark.parametrize("name", BOTH_ERAS)
def test_random_damage_is_a_finding_or_one_sentence(name: str, tmp_path: Path) -> None:
    """No byte pattern may give anything but a survey or an AnatomyError."""
    palace = _copied(name, tmp_path)
    source = random.Random(name)  # noqa: S311 - a reproducible test, not a secret
    files = [file for file in sorted(palace.rglob("*")) if file.is_file()]
    for _ in range(150):
        file = source.choice(files)
        whole = file.read_bytes()
        data = bytearray(whole)
        for _ in range(source.choice((1, 1, 4, 40)) if data else 0):
            data[source.randrange(min(len(data), source.choice((64, 4096, 1 << 20))))] = (
                source.randrange(256)
            )
        if data and source.random() < 0.3:
            del data[source.randrange(len(data)) :]
        file.write_bytes(data)
        try:
            seen = survey(palace)
            for each in seen.collections:
                each.vectors()
                each.served_vectors()
        except AnatomyError:
            pass
        file.write_bytes(whole)
    assert survey(palace).findings == ()


# --- the pickle --------------------------------------------------------------------------------

PICKLES = [
    next((FIXTURES / name / "palace").glob("*/index_metadata.pickle")).read_bytes()
    for name in BOTH_ERAS
]


class PersistentData:
    """Stands in for chromadb's class of that name."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.__dict__.update(content)


@pytest.fixture
def chromadb_class(monkeypatch: pytest.MonkeyPatch) -> type[PersistentData]:
    parts = RECORD_NAME[0].split(".")
    for count in range(1, len(parts) + 1):
        name = ".".join(parts[:count])
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules[RECORD_NAME[0]].__dict__["PersistentData"] = PersistentData
    monkeypatch.setattr(PersistentData, "__module__", RECORD_NAME[0])
    return PersistentData


@given(
    st.dictionaries(st.text(max_size=20), st.integers(0, 2**32 - 1), max_size=50),
    st.sampled_from([2, 3, 4, 5]),
    st.booleans(),
)
def test_what_pickle_writes_is_read_back(
    labels: dict[str, int], protocol: int, extended: bool
) -> None:
    content = {
        "dimensionality": 16 if extended else None,
        "total_elements_added": len(labels),
        "max_seq_id": 1 << 70 if extended else None,
        "id_to_label": labels,
        "label_to_id": {label: name for name, label in labels.items()},
        "id_to_seq_id": {},
    }
    read = parse_index_pickle(pickle.dumps(content, protocol))
    assert read.form == "dict"
    assert read.id_to_label == labels
    assert read.label_to_id == content["label_to_id"]
    assert (read.dimensionality, read.max_seq_id) == (
        content["dimensionality"],
        content["max_seq_id"],
    )
    assert read.trailing_bytes == 0


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_class_0x_writes_is_read_back(
    chromadb_class: type[PersistentData], protocol: int
) -> None:
    labels = {f"id-{n}": n for n in range(3000)}
    backward = {label: name for name, label in labels.items()}
    content = {"dimensionality": 4, "total_elements_added": 3000, "id_to_label": labels}
    data = pickle.dumps(chromadb_class({**content, "label_to_id": backward}), protocol)
    read = parse_index_pickle(data + b"left over")
    assert (read.form, read.id_to_label, read.label_to_id) == ("class", labels, backward)
    assert (read.max_seq_id, read.trailing_bytes) == (None, 9)


@pytest.mark.parametrize("data", PICKLES)
def test_every_truncation_is_torn(data: bytes) -> None:
    for length in range(len(data)):
        with pytest.raises(AnatomyError, match="torn") as torn:
            parse_index_pickle(data[:length])
        assert torn.value.kind == "pickle-torn"


def _never_anything_else(data: bytes) -> None:
    kind = "read"
    try:
        parse_index_pickle(data)
    except AnatomyError as error:
        kind = error.kind
    assert kind in ("read", "pickle-torn", "pickle-refused")


@settings(max_examples=500)
@given(st.binary(max_size=200))
def test_random_bytes_are_refused_in_one_sentence(data: bytes) -> None:
    _never_anything_else(data)
    _never_anything_else(b"\x80\x04" + data + b".")


@settings(max_examples=500)
@given(
    st.sampled_from(PICKLES), st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=5)
)
def test_mutations_are_read_or_refused(data: bytes, changes: list[tuple[int, int]]) -> None:
    mutated = bytearray(data)
    for at, value in changes:
        mutated[at % len(mutated)] = value
    _never_anything_else(bytes(mutated))


class Hostile:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.canary,)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_hostile_pickle_is_refused_by_name_and_not_executed(
    protocol: int, tmp_path: Path
) -> None:
    canary = tmp_path / "executed"
    data = pickle.dumps({"id_to_label": Hostile(canary)}, protocol)
    with pytest.raises(AnatomyError) as refused:
        parse_index_pickle(data)
    assert refused.value.kind in ("pickle-refused", "pickle-torn")
    if protocol >= 4:
        assert "touch" in str(refused.value)
    assert not canary.exists()
    pickle.loads(data)  # noqa: S301 - shows that the pickle would have done it
    assert canary.exists()


BOMBS = {
    "memo index": b"\x80\x04}r\xff\xff\xff\x7f.",
    "memo": b"\x80\x04}" + b"\x94" * 1_000_000 + b".",
    "containers": b"\x80\x04" + b"}" * 1_000_000 + b".",
    "long": b"\x80\x04\x8b\xff\xff\xff\x7f" + b"\x01" * 100,
    "text": b"\x80\x04\x8d" + b"\xff" * 8,
    "colliding keys": b"\x80\x04}("
    + b"".join(b"\x8a\x0a" + ((n << 61) - n).to_bytes(10, "little") + b"N" for n in range(1, 9000))
    + b"u.",
    "states": b"\x80\x04c"
    + "\n".join(RECORD_NAME).encode()
    + b"\n)\x81}q\x00("
    + b"".join(b"X\x05\x00\x00\x00%05dN" % n for n in range(20_000))
    + b"ub"
    + b"h\x00b" * 20_000
    + b".",
    "tuple keys": b"\x80\x04}()u.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_cost_little_and_are_refused(name: str) -> None:
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(AnatomyError):
        parse_index_pickle(BOMBS[name])
    assert time.process_time() - started < 10
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


# --- the log -----------------------------------------------------------------------------------

OPERATIONS = st.tuples(
    st.sampled_from([ADD, UPDATE, UPSERT, DELETE]), st.integers(0, 4), st.booleans()
)


def _records(operations: list[tuple[int, int, bool]]) -> list[LogRecord]:
    log = []
    for seq_id, (operation, which, given_vector) in enumerate(operations, start=1):
        # chromadb requires a vector for ADD and UPSERT, and writes none for DELETE.
        has = operation in (ADD, UPSERT) or (operation == UPDATE and given_vector)
        vector = struct.pack("<f", seq_id) if has else None
        log.append(LogRecord(seq_id, operation, f"id{which}", vector, 4 if has else 0, "FLOAT32"))
    return log


def _model(log: list[LogRecord]) -> tuple[dict[str, int], dict[str, int]]:
    """Apply a log by the rules of chromadb's documentation: id → last change, id → vector."""
    rows: dict[str, int] = {}
    vectors: dict[str, int] = {}
    for record in log:
        there = record.id in rows
        if record.operation == DELETE:
            rows.pop(record.id, None)
            vectors.pop(record.id, None)
        elif record.operation == UPSERT or there == (record.operation == UPDATE):
            rows[record.id] = record.seq_id
            if record.vector is not None:
                vectors[record.id] = record.seq_id
    return rows, vectors


@settings(max_examples=500)
@given(st.lists(OPERATIONS, max_size=40), st.data())
def test_replaying_from_any_watermark_gives_the_same(
    operations: list[tuple[int, int, bool]], data: st.DataObject
) -> None:
    log = _records(operations)
    rows, vectors = _model(log)
    flushed = data.draw(st.integers(0, len(log)), label="vector watermark")
    listed = data.draw(st.integers(0, len(log)), label="metadata watermark")
    purged = data.draw(st.integers(0, min(flushed, listed)), label="purged")
    kept = log[purged:]
    assert apply_to_rows(_model(log[:listed])[0], kept, listed) == rows
    served = apply_to_index(dict.fromkeys(_model(log[:flushed])[1], 0), kept, flushed, 1)
    assert set(served) == set(vectors)
    for name, where in served.items():
        assert (
            vectors[name] <= flushed if where == IN_INDEX else kept[where].seq_id == vectors[name]
        )
    replayed = replay_log(rows, kept, 1)
    assert replayed.certain <= set(replayed.vectors) <= set(rows)
    if purged == 0:
        assert replayed.complete
        assert {name: kept[at].seq_id for name, at in replayed.vectors.items()} == vectors


@settings(max_examples=1000)
@given(st.lists(OPERATIONS, max_size=30), st.integers(0, 30))
def test_a_purged_log_never_passes_an_ignored_add_for_a_vector(
    operations: list[tuple[int, int, bool]], purged: int
) -> None:
    log = _records(operations)
    rows, vectors = _model(log)
    kept = log[purged:]
    replayed = replay_log(rows, kept, 1, purged=True)
    for name in replayed.certain:
        assert kept[replayed.vectors[name]].seq_id == vectors[name]
    if replayed.complete:
        assert _model(kept)[1] == vectors


def test_a_purge_shows_in_a_row_that_was_never_inserted() -> None:
    """id0 and id1 were inserted before the log begins; the ADD of id0 was ignored."""
    log = _records([(ADD, 0, True), (ADD, 1, True), (ADD, 0, True), (UPDATE, 0, False)])
    rows, vectors = _model(log)
    assert (rows, vectors) == ({"id0": 4, "id1": 2}, {"id0": 1, "id1": 2})
    replayed = replay_log(rows, log[2:], 1)
    assert replayed.vectors == {"id0": 0}
    assert replayed.certain == frozenset()
    assert not replayed.complete


def test_an_update_whose_insertion_was_purged_still_holds_the_vector() -> None:
    log = _records([(ADD, 0, True), (UPDATE, 0, True)])
    replayed = replay_log(_model(log)[0], log[1:], 1)
    assert replayed.certain == {"id0"}
    assert not replayed.complete, "chromadb would ignore the update"


def test_sequence_numbers_are_decoded_from_every_known_form() -> None:
    assert decode_seq_id(7) == 7
    assert decode_seq_id((7).to_bytes(8, "big")) == 7
    assert decode_seq_id((1 << 130).to_bytes(24, "big")) == 1 << 130
    for unknown in (None, "7", 7.0, b"", bytes(25)):
        assert decode_seq_id(unknown) is None


def test_the_survey_is_typed_for_its_users() -> None:
    seen = survey(FIXTURES / BOTH_ERAS[1] / "palace", deep=False)
    assert isinstance(seen, Survey)
    assert isinstance(seen.collection("drawers"), CollectionSurvey)
    with pytest.raises(KeyError):
        seen.collection("no such collection")
