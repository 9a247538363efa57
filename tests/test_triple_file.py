"""First openers of a new graph, files that are no graph, and the length of the log."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from palace_store import triple_file
from palace_store.fixes import Fixes
from palace_store.sqlite_lock import lock_file
from palace_store.triples import (
    KnowledgeError,
    PalaceLockedError,
    TripleStore,
)

OFF = Fixes.none()
ALL = Fixes.all()


@contextmanager
def peer(palace: Path) -> Iterator[sqlite3.Connection]:
    """Open a raw connection that waits for nobody."""
    path = palace / "knowledge.sqlite3"
    with closing(
        sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    ) as db:
        yield db


def wal(palace: Path) -> Path:
    return palace / "knowledge.sqlite3-wal"


def test_files_that_are_no_graph_are_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(KnowledgeError, match="must be a folder"):
        TripleStore(tmp_path / "file")

    (tmp_path / "junk").mkdir()
    junk = tmp_path / "junk" / "knowledge.sqlite3"
    junk.write_bytes(b"no database at all, but long enough to be looked at" * 30)
    before = junk.read_bytes()
    with pytest.raises(KnowledgeError, match="not a database"):
        TripleStore(tmp_path / "junk")
    assert junk.read_bytes() == before

    TripleStore(tmp_path / "newer").close()
    with peer(tmp_path / "newer") as db:
        db.execute("PRAGMA user_version = 2")
    with pytest.raises(KnowledgeError, match="has schema 2, this library knows 1"):
        TripleStore(tmp_path / "newer")


@pytest.mark.parametrize(
    "table", ["triples (s, p, o)", "triples (subject, predicate, object, ended, other)"]
)
def test_a_foreign_file_is_refused_and_not_changed(tmp_path: Path, table: str) -> None:
    with peer(tmp_path) as db:
        db.execute(f"CREATE TABLE {table}")
    path = tmp_path / "knowledge.sqlite3"
    before = path.read_bytes()
    with pytest.raises(KnowledgeError, match="is no knowledge graph of this library"):
        TripleStore(tmp_path)
    assert path.read_bytes() == before
    with pytest.raises(KnowledgeError):
        TripleStore(tmp_path, fixes=OFF)
    assert path.read_bytes() == before


OURS = "triples (id, subject, predicate, object, valid_from, ended, source)"
KEYS = "keys (key, triple)"


@pytest.mark.parametrize(
    ("version", "tables", "why"),
    [
        (1, ["t (x)"], "it has schema 1 and no table triples"),
        (1, [OURS], "it has schema 1 and no table keys"),
        (1, [KEYS, "triples (subject, predicate, object)"], "its table triples has the columns"),
        (1, [OURS, "keys (key)"], "its table keys has the columns key"),
        (0, ["t (x)"], "it has a table t and no schema"),
        (-1, [], "there is no schema -1"),
        (-1, [OURS, KEYS], "there is no schema -1"),
    ],
)
@pytest.mark.parametrize("fixes", [OFF, ALL], ids=["off", "all"])
def test_a_file_is_ours_only_with_number_and_tables_of_one_schema(
    tmp_path: Path, version: int, tables: list[str], why: str, fixes: Fixes
) -> None:
    with peer(tmp_path) as db:
        for table in tables:
            db.execute(f"CREATE TABLE {table}")
        db.execute(f"PRAGMA user_version = {version}")
    path = tmp_path / "knowledge.sqlite3"
    before = path.read_bytes()
    with pytest.raises(KnowledgeError, match=f"is no knowledge graph of this library, {why}"):
        TripleStore(tmp_path, fixes=fixes)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["knowledge.sqlite3"]


def test_what_a_death_left_of_a_schema_that_came_table_by_table_is_gone_on_with(
    tmp_path: Path,
) -> None:
    with peer(tmp_path) as db:
        db.execute(triple_file._SCHEMA[0])
    with TripleStore(tmp_path) as store:
        assert store.add("a", "p", "b") == 1


def test_the_schema_comes_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triple_file, "_SCHEMA", (*triple_file._SCHEMA[:3], "CREATE NONSENSE"))
    with pytest.raises(KnowledgeError, match="syntax error"):
        TripleStore(tmp_path)
    with peer(tmp_path) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == []
    monkeypatch.undo()
    TripleStore(tmp_path).close()


OPENER = """
import sqlite3, sys
from pathlib import Path
from palace_store import triple_file
from palace_store.fixes import Fixes
from palace_store.triples import PalaceLockedError, TripleStore

palace, name, words = Path(sys.argv[1]), sys.argv[2], sys.argv[3].split()
met = []

def on_locked():
    if not met:
        met.append(1)
        print("met", flush=True)

print("ready", flush=True)
sys.stdin.readline()
try:
    with TripleStore(palace, fixes=Fixes.parse(words), time_scale=0.2, on_locked=on_locked) as s:
        s.add(name, "p", "o")
except PalaceLockedError as error:
    print("locked", error.effect, flush=True)
else:
    print("added", flush=True)
"""


@contextmanager
def openers(palace: Path, fixes: Fixes, number: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Start processes that stand before opening the palace until they are written a line."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", OPENER, str(palace), f"w{n}", " ".join(fixes.words())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(number)
    ]
    try:
        assert [heard(child) for child in children] == ["ready"] * number
        yield children
    finally:
        for child in children:
            child.kill()
            child.communicate()


def heard(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def go(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


@pytest.mark.parametrize("fixes", [OFF, Fixes.reported("kg"), ALL], ids=["off", "reported", "all"])
def test_eight_first_openers_meet_a_holder(tmp_path: Path, fixes: Fixes) -> None:
    with peer(tmp_path) as holder, openers(tmp_path, fixes, 8) as children:
        holder.execute("BEGIN IMMEDIATE")
        assert holder.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        for child in children:
            go(child)
        first = [heard(child) for child in children]
        if fixes is ALL:
            assert first == ["met"] * 8  # all of them, before the holder lets go
            holder.execute("ROLLBACK")
            assert [heard(child) for child in children] == ["added"] * 8
        else:
            assert first == ["locked none"] * 8
            holder.execute("ROLLBACK")
    with TripleStore(tmp_path) as store:
        subjects = {triple.subject for triple in store.all()}
        assert subjects == ({f"w{n}" for n in range(8)} if fixes is ALL else set())


def test_eight_first_openers_race_without_a_holder(tmp_path: Path) -> None:
    with openers(tmp_path, ALL, 8) as children:
        for child in children:
            go(child)
        said = [[line for line in (heard(child), heard(child)) if line] for child in children]
    assert all(lines[-1] == "added" for lines in said)
    with TripleStore(tmp_path) as store:
        assert store.count() == 8


def test_threads_that_open_new_palaces_at_once_never_fail(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def race(palace: Path, barrier: threading.Barrier, name: str) -> None:
        try:
            barrier.wait(10)
            with TripleStore(palace) as store:
                store.add(name, "p", "o")
        except BaseException as error:  # noqa: BLE001  (the test looks at it)
            failures.append(error)

    for n in range(8):
        barrier = threading.Barrier(6)
        threads = [
            threading.Thread(target=race, args=(tmp_path / f"{n}", barrier, f"{name}"))
            for name in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert failures == []
        with TripleStore(tmp_path / f"{n}") as store:
            assert store.count() == 6


def test_a_first_opener_does_not_wait_for_ever(tmp_path: Path) -> None:
    with peer(tmp_path) as holder:
        holder.execute("BEGIN IMMEDIATE")
        met: list[int] = []
        with pytest.raises(PalaceLockedError) as caught:
            TripleStore(tmp_path, time_scale=0.002, on_locked=lambda: met.append(1))
        assert caught.value.effect == "none"
        assert met  # it was tried again, however slow the machine
    with (
        lock_file(tmp_path / ".palace" / "knowledge.lock"),
        pytest.raises(PalaceLockedError, match="its lock file"),
    ):
        TripleStore(tmp_path, time_scale=0.002)
    TripleStore(tmp_path).close()
    with lock_file(tmp_path / ".palace" / "knowledge.lock"):
        TripleStore(tmp_path).close()  # a graph that is set up needs no lock file


def test_a_half_made_graph_is_finished(tmp_path: Path) -> None:
    """The unfixed library makes its tables one by one; a death in between leaves some."""
    TripleStore(tmp_path).close()
    with peer(tmp_path) as db:
        db.execute("DROP INDEX triples_open")
        db.execute("DROP TABLE keys")
        db.execute("PRAGMA user_version = 0")
    for fixes in (ALL, OFF):
        with TripleStore(tmp_path, fixes=fixes) as store:
            assert store.add("a", "p", "o", key="k") == 1
    with peer(tmp_path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("SELECT 1 FROM sqlite_master WHERE name = 'triples_open'").fetchone()


def test_checkpoints_keep_the_log_short(tmp_path: Path) -> None:
    sizes = {}
    words: dict[str, list[str]] = {
        "off": [],
        "reported": ["kg_autocheckpoint=reported"],
        "on": ["kg_autocheckpoint"],
    }
    for name, spelled in words.items():
        fixes = Fixes.parse(spelled)
        with TripleStore(tmp_path / name, fixes=fixes) as store:
            for n in range(60):
                store.add_many([(f"{n}", "p", "x" * 60_000)])
            sizes[name] = wal(tmp_path / name).stat().st_size // 4096
    assert sizes["on"] < 300
    assert sizes["off"] > 900
    assert sizes["reported"] > 900  # what the report sets is what SQLite does anyway


def test_a_read_of_ours_does_not_pin_the_log(tmp_path: Path) -> None:
    with TripleStore(tmp_path) as store, peer(tmp_path) as other:
        store.add("a", "p", "o")
        assert store.query("a") == store.all()
        assert store.count() == 1
        assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        assert wal(tmp_path).stat().st_size == 0


LIMIT_BYTES = 200_000


def write_a_lot(store: TripleStore, turns: int, name: str = "a") -> None:
    for n in range(turns):
        store.add_many([(f"{name}{n}", "p", "x" * 60_000)])


@pytest.mark.parametrize("fixes", [Fixes.reported("kg"), ALL.without("kg_log_bound")])
def test_a_reader_makes_the_log_grow_without_end(tmp_path: Path, fixes: Fixes) -> None:
    with TripleStore(tmp_path, fixes=fixes, log_bytes_max=LIMIT_BYTES) as store:
        store.add("a", "p", "o")
        with peer(tmp_path) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM triples").fetchone()
            write_a_lot(store, 100)
            assert wal(tmp_path).stat().st_size > 6_000_000


def test_a_log_that_a_reader_pins_stays_bounded_and_says_why(tmp_path: Path) -> None:
    with TripleStore(tmp_path, time_scale=0.05, log_bytes_max=LIMIT_BYTES) as store:
        store.add("a", "p", "o")
        with peer(tmp_path) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM triples").fetchone()
            for _ in range(3):
                with pytest.raises(PalaceLockedError, match="stays in one read") as caught:
                    write_a_lot(store, 100, "pinned")
                assert caught.value.effect == "none"
            bound = LIMIT_BYTES + 100_000  # the limit, and the last transaction that got in
            assert LIMIT_BYTES < wal(tmp_path).stat().st_size < bound
            before = store.count()  # whoever only reads is not refused
            reader.execute("ROLLBACK")
            store.add("b", "p", "o")
            assert wal(tmp_path).stat().st_size < LIMIT_BYTES
        assert store.count() == before + 1


def test_a_long_log_that_nobody_reads_is_emptied_and_nothing_refused(tmp_path: Path) -> None:
    with (
        TripleStore(tmp_path, log_bytes_max=LIMIT_BYTES) as store,
        TripleStore(tmp_path, fixes=OFF) as other,
    ):
        write_a_lot(other, 10)
        assert wal(tmp_path).stat().st_size > LIMIT_BYTES
        store.add("b", "p", "o")
        assert wal(tmp_path).stat().st_size < LIMIT_BYTES
        assert other.count() == 11


@pytest.mark.parametrize(("fixes", "log_bytes"), [(OFF, -1), (ALL, 64 * 2**20)])
def test_every_commit_reaches_the_disk_and_the_log_does_not_stay_long(
    tmp_path: Path, fixes: Fixes, log_bytes: int
) -> None:
    with TripleStore(tmp_path, fixes=fixes) as store:
        db = store._connection._db
        assert db is not None
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert db.execute("PRAGMA journal_size_limit").fetchone() == (log_bytes,)
