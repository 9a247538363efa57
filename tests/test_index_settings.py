"""Settings of an index are those that chromadb computes with, wherever they are kept."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from palace_lab.environments import ensure
from palace_lab.processes.roots import make_import_root
from palace_store.anatomy import survey
from palace_store.anatomy.settings import index_settings

WORKER = Path(__file__).parent / "entries" / "configured.py"
RELEASES = (
    "0.6.3",
    *(pytest.param(each, marks=pytest.mark.nightly) for each in ("1.0.21", "1.3.7", "1.5.5")),
    "1.5.9",
)


def schema(space: str | None) -> str:
    config = {"space": space, "hnsw": {"sync_threshold": 30}}
    vectors = {"float_list": {"vector_index": {"config": config}}}
    return json.dumps({"keys": {"#embedding": vectors}, "defaults": vectors})


def configured(*path: str, **index: Any) -> str:
    value: dict[str, Any] = index
    for key in reversed(path):
        value = {key: value}
    return json.dumps(value)


@pytest.mark.parametrize(
    ("collection", "segment", "config", "schema_text", "space"),
    [
        (None, None, None, None, "l2"),
        ("cosine", None, None, None, "cosine"),
        ("cosine", "ip", configured("vector_index", "hnsw", space="l2"), schema("l2"), "ip"),
        ("cosine", None, configured("vector_index", "hnsw", space="l2"), schema("ip"), "ip"),
        ("cosine", None, configured("vector_index", "hnsw", space="l2"), None, "l2"),
        ("cosine", None, configured("hnsw", space="l2"), "{}", "l2"),
        ("cosine", None, configured("vector_index", "hnsw", ef_search=50), None, "cosine"),
        ("cosine", None, configured("vector_index", "hnsw", space=7), schema(None), "cosine"),
        ("cosine", None, configured("hnsw_configuration", space="l2"), None, "cosine"),
        (None, None, configured("hnsw_configuration", space="ip"), None, "ip"),
        (None, None, "{", "[]", "l2"),
    ],
)
def test_the_order_of_belief(
    collection: str | None,
    segment: str | None,
    config: str | None,
    schema_text: str | None,
    space: str,
) -> None:
    find = index_settings(
        [("c", "hnsw:space", collection, None)] if collection else [],
        [("s", "hnsw:space", segment, None)] if segment else [],
    )
    assert find("c", "s", config, schema_text).space == space


def said(release: str, root: Path, *words: str | Path) -> Any:
    python = ensure(release).python
    done = subprocess.run(
        [python, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(make_import_root(root)), "ANONYMIZED_TELEMETRY": "0"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.s1
@pytest.mark.parametrize("release", RELEASES)
def test_what_is_read_is_what_chromadb_computes_with(release: str, tmp_path: Path) -> None:
    palace = tmp_path / "palace"
    for what in ("make", "modify"):
        measured = json.loads(said(release, tmp_path / what, WORKER, what, palace))
        assert set(measured.values()) == {"l2", "cosine", "ip"}
        seen = survey(palace)
        assert seen.findings == (), what
        spaces = {each.name: each.collection.settings.space for each in seen.collections}
        assert spaces == measured, what


@pytest.mark.slow
@pytest.mark.s1
@pytest.mark.parametrize(
    ("made", "opened"),
    [
        ("0.6.3", "1.5.9"),
        pytest.param("1.0.21", "1.0.21", marks=pytest.mark.nightly),
        pytest.param("1.0.21", "1.5.9", marks=pytest.mark.nightly),
    ],
)
def test_no_index_is_made_anew_for_how_it_was_configured(
    made: str, opened: str, tmp_path: Path
) -> None:
    palace = tmp_path / "palace"
    for what in ("make", "modify"):
        measured = json.loads(said(made, tmp_path / what, WORKER, what, palace))
    kept = {path.name for path in palace.glob("*-*")}
    copy = shutil.copytree(palace, tmp_path / "copy")
    told = said(opened, tmp_path / "mend", "-m", "palace_store.mend", copy)
    assert "rebuilt" not in told
    assert {path.name for path in copy.glob("*-*")} == kept
    after = {each.name: each for each in survey(copy).collections}
    assert {name: each.collection.settings.space for name, each in after.items()} == measured
    assert all(not each.unrecoverable for each in after.values())


@pytest.mark.slow
@pytest.mark.s1
@pytest.mark.parametrize("release", [pytest.param("1.0.21", marks=pytest.mark.nightly), "1.5.9"])
def test_the_library_goes_by_what_chromadb_computes_with(release: str, tmp_path: Path) -> None:
    palace = tmp_path / "palace"
    said(release, tmp_path / "make", WORKER, "make", palace)
    measured = json.loads(said(release, tmp_path / "modify", WORKER, "modify", palace))
    done = json.loads(said(release, tmp_path / "use", WORKER, "use", palace))
    by = {
        space: {each for each in measured if measured[each] == space} for space in measured.values()
    }
    assert set(done["refused"]) == by["cosine"]
    assert set(done["replaced"]) == by["cosine"] | by["l2"]
