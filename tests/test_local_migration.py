"""Memory files of every schema version: opened, by several at once, killed at every step (S4)."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from palace_lab.processes.supervise import (
    CrashPoint,
    Host,
    Worker,
    WorkerGoneError,
    tracing_available,
)
from palace_lab.targets.memory_files import machine_file, read_machine, words_of
from palace_lab.targets.old_memories import make_old
from palace_store.fixes import Fixes
from palace_store.local import LocalStore, MemoryFileError, schema

pytestmark = pytest.mark.s4

ALL = Fixes.all()
WITHOUT = ALL.without("local_migration")
VERSIONS = (0, 1, 2)
COUNT = 12
ANSWER_S = 60.0
K_MAX = 400
FAMILIES = ("write", "truncate", "fsync", "unlink", "open")


def make(path: Path, version: int) -> set[int]:
    """Make a file of that version, 0 being none at all; returns the numbers of its memories."""
    if version == 0:
        return set()
    make_old(path, version, map(words_of, range(COUNT)))
    return set(range(COUNT))


def held(path: Path) -> tuple[set[int], int]:
    """Return which memories are there, each once, and the schema version of a sound file."""
    read = read_machine(path)
    assert read["integrity"] == "ok"
    assert read["foreign"] == []
    assert len(read["memories"]) == len(set(read["memories"]))
    return set(read["memories"]), read["version"]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_is_taken_to_the_newest(tmp_path: Path, version: int) -> None:
    before = make(tmp_path / "memories.sqlite3", version)
    with LocalStore(tmp_path) as store:
        assert {memory.content for memory in store.all()} == set(map(words_of, before))
        assert all(memory.namespace == "default" for memory in store.all())
        store.store(words_of(COUNT))
        assert store.delete(store.recall(words_of(COUNT))[0].id)
    with LocalStore(tmp_path) as store:
        assert store.count() == len(before)


def test_what_old_versions_stored_twice_is_one_memory(tmp_path: Path) -> None:
    make_old(tmp_path / "memories.sqlite3", 1, ["a", "b", "a"])
    with LocalStore(tmp_path) as store:
        assert sorted(memory.content for memory in store.all()) == ["a", "b"]


def test_the_remotes_numbers_survive(tmp_path: Path) -> None:
    path = tmp_path / "memories.sqlite3"
    make_old(path, 2, ["a", "b"])
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE memories SET remote_id = 7 WHERE content = 'b'")
        db.commit()
    with LocalStore(tmp_path) as store:
        rows = store.connection.read("SELECT content, remote_id FROM memories ORDER BY content")
        assert rows == [("a", None), ("b", 7)]


def test_files_that_are_none_of_ours_are_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "memories.sqlite3"
    (tmp_path / "file").write_text("x")
    with pytest.raises(MemoryFileError, match="must be a folder"):
        LocalStore(tmp_path / "file")
    path.write_bytes(b"no database at all, but long enough to be looked at" * 30)
    before = path.read_bytes()
    with pytest.raises(MemoryFileError, match="not a database"):
        LocalStore(tmp_path)
    assert path.read_bytes() == before
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE memories (words)")
    before = path.read_bytes()
    for fixes in (ALL, Fixes.none()):
        with pytest.raises(MemoryFileError, match="holds no memories of this library"):
            LocalStore(tmp_path, fixes=fixes)
    assert path.read_bytes() == before
    path.unlink()
    LocalStore(tmp_path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 9")
    with pytest.raises(MemoryFileError, match="has schema 9, this library knows 3"):
        LocalStore(tmp_path)


OLD = "memories (id, content, created)"
LATER = "memories (id, content, created, namespace, metadata, remote_id)"


@pytest.mark.parametrize(
    ("version", "statements", "why"),
    [
        (-1, [], "there is no schema -1"),
        (0, ["CREATE TABLE sync (x)"], "it has a table sync and no schema"),
        (2, ["CREATE TABLE t (x)"], "it has schema 2 and no table memories"),
        (3, ["CREATE TABLE t (x)"], "it has schema 3 and no table memories"),
        (3, [f"CREATE TABLE {OLD}"], "it has schema 3 and no table sync"),
        (3, [f"CREATE TABLE {OLD}", "CREATE TABLE sync (name, value)"], "its table memories has"),
        (2, [f"CREATE TABLE {OLD}"], "its table memories has the columns content, created, id"),
        (1, ["CREATE VIEW memories AS SELECT 1"], "it has schema 1 and no table memories"),
        (1, [f"CREATE TABLE {OLD}", "INSERT INTO memories VALUES (7, x'ff', '2024')"],
         "memory 7 is no text or has no date"),
        (1, [f"CREATE TABLE {OLD}", "INSERT INTO memories VALUES (7, 'a', NULL)"],
         "memory 7 is no text or has no date"),
        (2, [f"CREATE TABLE {LATER}", "INSERT INTO memories VALUES (7, 'a', '', 'n', '', 1)"],
         "the metadata of memory 7 is no JSON object"),
        (2, [f"CREATE TABLE {LATER}", "INSERT INTO memories VALUES (7, 'a', '', 'n', '[]', 1)"],
         "the metadata of memory 7 is no JSON object"),
        (2, [f"CREATE TABLE {LATER}", "INSERT INTO memories VALUES (7, 'a', '', 'n', 5, 1)"],
         "the metadata of memory 7 is no JSON object"),
        (2, [f"CREATE TABLE {LATER}", "INSERT INTO memories VALUES (7, 'a', '', 'n', NULL, 1)"],
         "the metadata of memory 7 is no JSON object"),
    ],
)  # fmt: skip
def test_a_file_is_ours_only_with_number_tables_and_rows_of_one_schema(
    tmp_path: Path, version: int, statements: list[str], why: str
) -> None:
    path = tmp_path / "memories.sqlite3"
    with closing(sqlite3.connect(path)) as db:
        for statement in [*statements, f"PRAGMA user_version = {version}"]:
            db.execute(statement)
        db.commit()
    before = path.read_bytes()
    # The plain code believes a number, and tells what it then meets in SQLite's own words.
    for fixes in (ALL,) if version > 0 else (ALL, Fixes.none()):
        with pytest.raises(MemoryFileError, match=f"holds no memories of this library, {why}"):
            LocalStore(tmp_path, fixes=fixes)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["memories.sqlite3"]


@pytest.mark.parametrize("version", VERSIONS)
def test_an_error_at_any_step_leaves_the_old_file(tmp_path: Path, version: int) -> None:
    """An exception, not a death: what was begun is undone, whichever statement it came before."""
    steps = sum(len(each) for number, each in schema._STEPS.items() if number >= version)
    if version == 0:
        steps = len(schema._STEPS[0])
    for k in range(steps):
        palace = tmp_path / str(k)
        before = make(palace / "memories.sqlite3", version)

        def stop(done: int, at: int = k) -> None:
            if done == at:
                raise sqlite3.DataError("the lab stops here")

        with pytest.raises(MemoryFileError, match="the lab stops here"):
            LocalStore(palace, on_step=stop)
        if version:
            assert held(palace / "memories.sqlite3") == (before, version)
        with LocalStore(palace) as store:
            assert store.count() == len(before)


OPENER = """
import sys
from pathlib import Path
from palace_store.fixes import Fixes
from palace_store.local import LocalStore, MemoryFileError

palace, words = Path(sys.argv[1]), sys.argv[2].split()
print("ready", flush=True)
sys.stdin.readline()
try:
    with LocalStore(palace, fixes=Fixes.parse(words)) as store:
        print("opened", store.count(), flush=True)
except MemoryFileError as error:
    print("failed", error, flush=True)
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_several_processes_migrate_at_once(tmp_path: Path, version: int) -> None:
    before = make(tmp_path / "memories.sqlite3", version)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", OPENER, str(tmp_path), " ".join(ALL.words())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
        said = [child.communicate(timeout=60)[0].strip() for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()
    assert said == [f"opened {len(before)}"] * 4
    assert held(tmp_path / "memories.sqlite3") == (before, schema.VERSION)


# Killed -----------------------------------------------------------------------------------------


def launch(host: Host, directory: Path, name: str, fixes: Fixes, *points: CrashPoint) -> Worker:
    history = directory / "history" / f"{name}.hist"
    history.unlink(missing_ok=True)
    history.parent.mkdir(exist_ok=True)
    config: dict[str, Any] = {
        "palace": str(directory / "palace"),
        "process": name,
        "history": str(history),
        "seed": 1,
        "fixes": fixes.words(),
        "time_scale": 1.0,
        "options": {"machine": "m"},
        "target": "memories",
    }
    return host.launch(name, entry="palace_lab.targets.worker:main", config=config, points=points)


def kills(host: Host, directory: Path, version: int, fixes: Fixes) -> Iterator[tuple[str, int]]:
    """Kill a migrator at every call in turn, check what it left, and yield where it was killed."""
    path = machine_file(directory / "palace", "m")
    for family in FAMILIES:
        for k in range(1, K_MAX):
            shutil.rmtree(directory / "palace", ignore_errors=True)
            before = make(path, version)
            point = CrashPoint(family, f"{directory}/palace/*/memories.sqlite3*", k)
            died = False
            with launch(host, directory, "w", fixes, point) as worker:
                try:
                    worker.send({"do": "open", "args": {}})
                    assert worker.receive(ANSWER_S)["done"] == "ok"
                    worker.send({"exit": True})
                    worker.receive(ANSWER_S)
                except WorkerGoneError:
                    died = True
            where = f"killed at {family} {k}"
            if version:
                there, now = held(path)
                assert there == before, where
                assert now in (version, schema.VERSION), where
            with LocalStore(path.parent, fixes=fixes) as store:
                store.store(words_of(COUNT))
            assert held(path) == (before | {COUNT}, schema.VERSION), where
            if not died:
                break
            yield family, k
        else:
            raise AssertionError(f"{family}: no end after {K_MAX} kills")


needs_tracing = pytest.mark.skipif(tracing_available() is not None, reason=str(tracing_available()))


@needs_tracing
@pytest.mark.parametrize("version", VERSIONS)
def test_a_migrator_killed_anywhere(host: Host, tmp_path: Path, version: int) -> None:
    where = list(kills(host, tmp_path, version, ALL))
    assert sum(family == "write" for family, _ in where) > 5
    assert sum(family == "fsync" for family, _ in where) >= 1


@needs_tracing
@pytest.mark.parametrize("version", [1, 2])
def test_without_the_fix_the_loop_finds_a_torn_file(
    host: Host, tmp_path: Path, version: int
) -> None:
    """The loop can fail: here each statement is committed by itself."""
    with pytest.raises((AssertionError, MemoryFileError), match=r"killed at|cannot be used"):
        list(kills(host, tmp_path, version, WITHOUT))
