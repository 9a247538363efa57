"""`palace-lab diagnose`: true of every fixture and every damage, and the palace stays as it was."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click
import pytest

from palace_lab.catalog import find_scenarios
from palace_lab.cli import palace_lab as cli
from palace_lab.environments import ensure
from palace_lab.errors import DeadlineError, ExitCode, LabError, RefusedError, UsageError
from palace_lab.processes.scratch import ScratchDirectory
from palace_lab.report.console import Console
from palace_lab.repro import advice, diagnosis, reader, roots, special
from palace_lab.repro.diagnosis import Diagnosis, diagnose
from palace_lab.repro.document import FORMAT, document
from palace_lab.repro.facts import Claim, Drawers, Reading
from palace_lab.repro.reading import read_palace
from palace_lab.repro.release import opened_by
from palace_lab.repro.telling import show
from palace_store import anatomy
from palace_store.anatomy import private_copy, read_tables
from palace_store.local.store import LocalStore
from palace_store.triples import TripleStore

sys.path.append(str(Path(__file__).parent / "entries"))
from dead_writers import HOT_JOURNAL
from harm import cut_off
from nobody import as_nobody, only_root, open_place
from whole_runs import INTERRUPTIBLE, START

FIXTURES = Path(__file__).parent.parent / "fixtures"
MANIFEST: dict[str, Any] = json.loads((FIXTURES / "manifest.json").read_text())
SPECIAL = tuple(each for each in vars(special).values() if isinstance(each, advice.Advice))
#: The newest release that may have opened each fixture: from, and before.
BOUNDS = {
    "0.4.24": (None, "0.5.0"),
    "0.5.23": ("0.5.7", "1.0.0"),
    "0.6.3": ("0.5.7", "1.0.0"),
    "1.0.21": ("1.0.0", "1.3.0"),
    "1.3.7": ("1.3.0", "1.5.0"),
    "1.5.9": ("1.5.0", None),
}


def quiet(_: str) -> None:
    pass


def copied(release: str, into: Path) -> Path:
    target = into / "palace"
    shutil.copytree(FIXTURES / f"chroma-{release}" / "palace", target)
    return target


@pytest.fixture
def palace(tmp_path: Path) -> Path:
    return copied("1.5.9", tmp_path)


def state(folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything about a folder that a reader could change: names, kinds, bytes, times."""
    seen: dict[str, tuple[object, ...]] = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        seen[str(path.relative_to(folder))] = (
            status.st_mode,
            status.st_ino,
            status.st_mtime_ns,
            status.st_ctime_ns,
            content,
        )
    return seen


def execute(file: Path, *statements: str) -> None:
    database = sqlite3.connect(file)
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


def segment_of(palace: Path, collection: str = "drawers") -> Path:
    tables = read_tables(palace)
    found = next(each.vector_segment for each in tables.collections if each.name == collection)
    assert found is not None
    return palace / found


def kinds(found: Diagnosis) -> set[str]:
    return {each.claim.kind for each in found.findings}


def run(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from palace_lab.cli import main; sys.argv[0] = 'palace-lab'; main()"
    return subprocess.run(
        [sys.executable, "-c", code, "diagnose", *words],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


# --- healthy palaces ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(MANIFEST))
def test_a_fixture_is_what_the_manifest_says_and_stays_as_it_was(name: str) -> None:
    assert MANIFEST[name]["state"] == "healthy", "say here what a damaged fixture must give"
    place = FIXTURES / name / "palace"
    before = state(place)
    found = diagnose(place, tell=quiet)
    assert found.findings == ()
    assert found.verdict == "healthy"
    assert found.readings == 1
    assert state(place) == before


@pytest.mark.parametrize("name", sorted(MANIFEST))
def test_the_release_that_wrote_a_fixture_is_within_what_is_said(name: str) -> None:
    release = MANIFEST[name]["release"]
    reading = diagnose(FIXTURES / name / "palace", tell=quiet).reading
    assert reading.opened is not None
    assert (reading.opened.at_least, reading.opened.below) == BOUNDS[release]
    age = "0.x" if release.startswith("0.") else "1.x"
    assert reading.rows_by == age
    written = {each.name: each.index_by for each in reading.collections}
    assert written == {"drawers": age, "angles": age, "few": None, "never": None}


def test_what_is_said_of_collections_is_what_chromadb_answered() -> None:
    place = FIXTURES / "chroma-1.5.9"
    answers = json.loads((place / "answers.json").read_text())
    reading = diagnose(place / "palace", tell=quiet).reading
    assert {each.name: each.rows for each in reading.collections} == {
        name: said["count"] for name, said in answers.items()
    }


def test_a_release_that_is_newer_than_any_known_is_said_to_be_so(palace: Path) -> None:
    statement = "INSERT INTO migrations SELECT dir, 99, '00099-x.sqlite.sql', sql, hash "
    execute(palace / "chroma.sqlite3", statement + "FROM migrations WHERE dir = 'sysdb' LIMIT 1")
    found = diagnose(palace, tell=quiet)
    assert found.reading.opened is not None
    assert found.reading.opened.newer_than_known
    assert kinds(found) == {"release-unknown"}
    assert found.verdict == "healthy"


@pytest.mark.parametrize("name", ["knowledge.sqlite3", "memories.sqlite3"])
def test_a_file_of_a_newer_library_is_said_to_be_so(name: str, tmp_path: Path) -> None:
    TripleStore(tmp_path).close()
    LocalStore(tmp_path).close()
    execute(tmp_path / name, "PRAGMA user_version = 99")
    found = diagnose(tmp_path, tell=quiet)
    assert [(each.claim.kind, each.claim.sentence) for each in found.findings] == [
        ("release-unknown", f"{name} has schema 99, newer than this lab knows: it is refused here.")
    ]
    assert found.verdict == "healthy"


def test_no_migrations_say_nothing_about_a_release() -> None:
    assert opened_by([]).words == "an unknown release"


@pytest.mark.parametrize("part", ["sysdb", "metadb", "embeddings_queue"])
@pytest.mark.parametrize("release", BOUNDS)
def test_what_was_taken_from_the_migrations_does_not_make_a_palace_older(
    part: str, release: str
) -> None:
    whole = read_tables(FIXTURES / f"chroma-{release}" / "palace").migrations
    said = opened_by(each for each in whole if each[0] != part)
    assert said.at_least is None or said.below is None or said.at_least < said.below


def test_a_palace_of_facts_and_memories_alone_is_one(tmp_path: Path) -> None:
    with TripleStore(tmp_path) as facts, LocalStore(tmp_path) as memories:
        facts.add("the cat", "is", "black")
        memories.store("a memory")
    found = diagnose(tmp_path, tell=quiet)
    assert found.verdict == "healthy"
    rows = {each.file: (each.rows, each.integrity) for each in found.reading.databases}
    assert rows == {"knowledge.sqlite3": (1, "ok"), "memories.sqlite3": (1, "ok")}


# --- damage ------------------------------------------------------------------------------------


def _torn_graph(palace: Path) -> None:
    with TripleStore(palace) as facts:
        facts.add_many([("a", f"knows {number}", "b" * 200) for number in range(500)])
    file = palace / "knowledge.sqlite3"
    with file.open("r+b") as handle:
        handle.seek(3 * 4096)
        handle.write(b"\xff" * 4096)


def _long_log(palace: Path) -> None:
    TripleStore(palace).close()
    (palace / "knowledge.sqlite3-wal").touch()
    os.truncate(palace / "knowledge.sqlite3-wal", 65 << 20)


def _tables_dropped(palace: Path) -> None:
    TripleStore(palace).close()
    execute(palace / "knowledge.sqlite3", "DROP TABLE triples")
    execute(palace / "knowledge.sqlite3", "DROP TABLE keys")


def _others_memories(palace: Path) -> None:
    (palace / "memories.sqlite3").write_bytes(b"")
    execute(palace / "memories.sqlite3", "CREATE TABLE memories (words)")


def _renamed(palace: Path) -> None:
    segment = segment_of(palace)
    segment.rename(f"{segment}.drift-20250101-000000")


def _open_change(palace: Path) -> None:
    from palace_store.state import DIRECTORY, State, write_state  # noqa: PLC0415 - here alone

    (palace / DIRECTORY).mkdir()
    write_state(palace, State(chromadb="1.5.9", open_flush=("drawers",)), durable=False)


def _watermark(value: str) -> Callable[[Path], None]:
    def harm(palace: Path) -> None:
        segment = segment_of(palace).name
        execute(
            palace / "chroma.sqlite3",
            f"UPDATE max_seq_id SET seq_id = {value} WHERE segment_id = '{segment}'",  # noqa: S608 - a test's constant
        )

    return harm


#: What is done to a healthy palace of 1.5.9, the finding it must give, and the scenario named.
HARM: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "pickle cut": (
        lambda p: os.truncate(segment_of(p) / "index_metadata.pickle", 400),
        "pickle-torn",
        "s1/killed-in-pickle",
    ),
    "vectors cut": (
        lambda p: os.truncate(segment_of(p) / "data_level0.bin", 400),
        "index-torn",
        "s1/killed-in-data",
    ),
    "links grown": (
        lambda p: os.truncate(segment_of(p) / "link_lists.bin", 8 << 30),
        "bloated-file",
        "s1/killed-in-data",
    ),
    "index renamed": (_renamed, "segment-missing", "s1/quarantine"),
    "links lost": (
        lambda p: cut_off(segment_of(p), "drawer-100"),
        "index-unreachable",
        "s1/replaced-vectors",
    ),
    "watermark a BLOB": (_watermark("x'00000000000000ad'"), "watermark-blob", "s0/stale-writer"),
    "watermark impossible": (_watermark("1048576"), "watermark-impossible", ""),
    "hostile pickle": (
        lambda p: (segment_of(p) / "index_metadata.pickle").write_bytes(
            b"cposix\nsystem\n(S'touch executed'\ntR."
        ),
        "pickle-refused",
        "",
    ),
    "database cut": (
        lambda p: os.truncate(p / "chroma.sqlite3", 8192),
        "database-unreadable",
        "",
    ),
    "database is text": (
        lambda p: (p / "chroma.sqlite3").write_text("no database" * 100),
        "database-unreadable",
        "",
    ),
    "database gone": (lambda p: (p / "chroma.sqlite3").unlink(), "database-missing", ""),
    "database a loop of links": (
        lambda p: (
            (p / "chroma.sqlite3").unlink(),
            (p / "chroma.sqlite3").symlink_to("chroma.sqlite3"),
        ),
        "database-unreadable",
        "",
    ),
    "database a pipe": (
        lambda p: ((p / "chroma.sqlite3").unlink(), os.mkfifo(p / "chroma.sqlite3")),
        "database-unreadable",
        "",
    ),
    "graph overwritten": (_torn_graph, "database-damaged", ""),
    "graph without tables": (_tables_dropped, "database-foreign", ""),
    "memories of another program": (_others_memories, "database-foreign", ""),
    "graph's log without end": (_long_log, "log-long", "s2/kg-pinned-log"),
}


def _emptied(palace: Path, name: str) -> None:
    (palace / name).write_bytes(b"")


def _tables_begun(palace: Path, name: str) -> None:
    """What chromadb has made when it is killed after its first migration."""
    with closing(sqlite3.connect(palace / name)) as db, db:
        db.execute("CREATE TABLE migrations (dir TEXT, version INTEGER)")


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("chroma.sqlite3", _emptied),
        ("chroma.sqlite3", _tables_begun),
        ("knowledge.sqlite3", _emptied),
        ("memories.sqlite3", _emptied),
    ],
)
def test_a_palace_that_was_only_begun_is_not_damaged(
    name: str, how: Callable[[Path, str], None], tmp_path: Path
) -> None:
    how(tmp_path, name)
    found = diagnose(tmp_path, tell=quiet)
    assert found.verdict == "healthy"
    assert kinds(found) == {"database-begun"}


def test_a_database_that_was_emptied_beside_its_index_is_damaged(palace: Path) -> None:
    _emptied(palace, "chroma.sqlite3")
    found = diagnose(palace, tell=quiet)
    assert found.verdict == "damaged"
    assert kinds(found) == {"database-unreadable"}


def test_what_was_not_read_is_no_damage(palace: Path) -> None:
    refusals: dict[str, type[LabError]] = {"too-long": DeadlineError, "too-large": RefusedError}
    for kind, error in refusals.items():
        said = json.dumps({"refused": "chroma.sqlite3 was not read", "kind": kind})
        with pytest.raises(error, match=r"chroma\.sqlite3 was not read; "):
            reader._taken(palace, said.encode(), 0)


def test_a_path_that_is_not_utf_8_is_read(tmp_path: Path) -> None:
    place = tmp_path / os.fsdecode(b"p\xff")
    place.mkdir()
    palace = copied("1.5.9", place)
    done = run(str(palace))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", HARM)
def test_damage_is_named_with_its_cause_and_its_scenario(name: str, palace: Path) -> None:
    harm, kind, scenario = HARM[name]
    harm(palace)
    big = "grown" in name or "without end" in name
    before = None if big else state(palace)
    found = diagnose(palace, tell=quiet)
    assert found.verdict == "damaged"
    named = [each for each in found.findings if each.claim.kind == kind]
    assert named, kinds(found)
    assert all(each.stands and each.claim.severity != "note" for each in named)
    assert {each.advice.scenario for each in named} == {scenario}
    assert before is None or state(palace) == before
    assert not (palace / "executed").exists()
    assert not Path("executed").exists()


@pytest.mark.parametrize("name", HARM)
def test_a_reading_without_that_finding_is_seen_to_be_one(
    name: str, palace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blind the finding, and the test above must fail: it rests on nothing else."""
    harm, kind, _ = HARM[name]
    harm(palace)

    def blinded(place: Path, *, copy: bool, tell: Callable[[str], None]) -> Reading:
        reading = read_palace(place, copy=copy, tell=tell)
        kept = tuple(each for each in reading.claims if each.kind != kind)
        return Reading(claims=kept, before=reading.before, after=reading.after)

    monkeypatch.setattr(diagnosis, "read_once", blinded)
    assert kind not in kinds(diagnose(palace, tell=quiet))


def test_what_follows_from_a_torn_pickle_has_its_cause(palace: Path) -> None:
    HARM["pickle cut"][0](palace)
    found = diagnose(palace, tell=quiet)
    assert kinds(found) == {"pickle-torn", "vectors-missing", "unrecoverable"}
    assert {each.advice.scenario for each in found.findings} == {"s1/killed-in-pickle"}
    drawers = next(each for each in found.reading.collections if each.name == "drawers")
    missing = next(each.claim for each in found.findings if each.claim.kind == "vectors-missing")
    assert len(missing.ids) == drawers.unfindable > drawers.lost > 0


@pytest.mark.parametrize("kind", ["index-drift", "pickle-missing", "vectors-missing"])
def test_an_index_begun_anew_after_a_rename_is_not_laid_to_two_writers(kind: str) -> None:
    kinds = {"index-drift", "vectors-missing", kind}
    assert roots.advise(kind, kinds, renamed=True).scenario == "s1/quarantine"
    assert roots.advise(kind, kinds, renamed=False).scenario != "s1/quarantine"


def test_a_change_that_was_cut_off_is_a_note(palace: Path) -> None:
    _open_change(palace)
    found = diagnose(palace, tell=quiet)
    assert found.verdict == "healthy"
    assert [(each.claim.kind, each.claim.severity) for each in found.findings] == [
        ("change-cut-off", "note")
    ]


DROPPED = """
import sys
import chromadb

settings = chromadb.config.Settings(anonymized_telemetry=False)
admin = chromadb.PersistentClient(sys.argv[1], settings=settings)._admin_client
admin.create_database("other")
client = chromadb.PersistentClient(sys.argv[1], settings=settings, database="other")
client.create_collection("gone").add(ids=["a"], embeddings=[[1.0, 2.0]])
admin.delete_database("other")
"""


@pytest.mark.slow
@pytest.mark.parametrize("release", ["0.6.3", "1.0.21", "1.3.7", "1.5.9"])
def test_what_is_left_of_a_database_that_was_deleted_is_no_damage(
    release: str, tmp_path: Path
) -> None:
    palace = copied(release, tmp_path)
    subprocess.run([ensure(release).python, "-c", DROPPED, palace], check=True, timeout=120)
    found = diagnose(palace, tell=quiet)
    assert found.verdict == "healthy"
    (left,) = found.findings
    assert left.claim.kind == "segment-ownerless"
    assert "database was deleted with chromadb" in left.advice.cause


REFUSED = """
import sys
import chromadb

settings = chromadb.config.Settings(anonymized_telemetry=False)
client = chromadb.PersistentClient(sys.argv[1], settings=settings)
try:
    client.create_collection("refused", metadata={"hnsw:sync_threshold": 2})
except ValueError:
    sys.exit()
raise AssertionError("taken")
"""


@pytest.mark.slow
@pytest.mark.parametrize("release", ["0.5.23", "0.6.3"])
def test_a_collection_whose_settings_were_refused_has_that_for_its_cause(
    release: str, tmp_path: Path
) -> None:
    palace = copied(release, tmp_path)
    subprocess.run([ensure(release).python, "-c", REFUSED, palace], check=True, timeout=120)
    (left,) = diagnose(palace, tell=quiet).findings
    assert (left.claim.kind, left.claim.severity) == ("segment-unlisted", "warning")
    assert "refused a setting" in left.advice.cause
    assert "delete_collection" in left.advice.remedy


def _reading(index_by: Any, *claimed: Claim) -> Reading:
    drawers = Drawers("d", 3, "0.x", 4, index_by, 0, None, None, 4, "l2", 10, 10, "s", 0, 0, 0)
    return Reading(collections=(drawers,), claims=claimed)


@pytest.mark.parametrize(
    ("index_by", "more", "verdict"),
    [("0.x", (), "healthy"), ("1.x", (), "damaged"), ("0.x", ("index-drift",), "damaged")],
)
def test_what_0x_leaves_in_a_healthy_index_is_a_note_there_alone(
    index_by: str,
    more: tuple[str, ...],
    verdict: str,
    palace: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    claims = [Claim(kind, "damage", "x.", "d") for kind in ("element-unknown", *more)]
    claims.append(Claim("index-only", "warning", "x.", "d", ("one",)))
    monkeypatch.setattr(diagnosis, "read_once", lambda *_, **__: _reading(index_by, *claims))
    found = diagnose(palace, tell=quiet)
    assert found.verdict == verdict
    causes = {each.advice.scenario for each in found.findings if each.claim.kind == "index-only"}
    assert causes == {"s1/count-of-old" if verdict == "healthy" else "s1/two-writers-alternating"}


# --- advice ------------------------------------------------------------------------------------


def test_there_is_advice_for_every_kind_and_for_no_other() -> None:
    assert set(advice.ADVICE) == set(anatomy.KINDS) | set(advice.KINDS)


def test_every_scenario_that_is_named_exists() -> None:
    there = {each.name for each in find_scenarios()}
    named = {each.scenario for each in (*advice.ADVICE.values(), *SPECIAL)}
    assert named - {""} <= there


def test_every_command_that_is_named_is_taken_by_the_command_line(palace: Path) -> None:
    for each in (*advice.ADVICE.values(), *SPECIAL):
        words = each.command(palace).split()
        assert words[0] == "palace-lab"
        context = click.Context(cli)
        _, command, rest = cli.resolve_command(context, words[1:])
        assert command is not None
        command.make_context(words[1], list(rest))


# --- the palace stays as it was ----------------------------------------------------------------

FACTS_IN_LOG = """
import os, sys
from palace_store.triples import TripleStore
facts = TripleStore(sys.argv[1])
facts.add_many([("a", f"knows {n}", "b") for n in range(20)])
os._exit(0)
"""


def in_child(code: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, timeout=120)


def test_a_hot_journal_and_a_log_are_honoured_and_left_alone(palace: Path) -> None:
    in_child(HOT_JOURNAL, str(palace / "chroma.sqlite3"))
    in_child(FACTS_IN_LOG, str(palace))
    for name in ("chroma.sqlite3-journal", "knowledge.sqlite3-wal"):
        assert (palace / name).stat().st_size > 0
    (palace / "knowledge.sqlite3-shm").unlink()
    before = state(palace)
    done = run(str(palace), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {each["file"]: each["rows"] for each in json.loads(done.stdout)["databases"]}
    assert rows["knowledge.sqlite3"] == 20
    assert rows["chroma.sqlite3"] == 243
    assert state(palace) == before


HOLD = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
db.execute("UPDATE collections SET name = 'renamed' WHERE name = 'never'")
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.stdin.close()
        process.wait(timeout=60)
        process.stdout.close()


def test_a_living_writer_is_named_and_what_it_has_not_committed_is_not_seen(palace: Path) -> None:
    with holder(HOLD, str(palace / "chroma.sqlite3")) as writer:
        before = state(palace)
        found = diagnose(palace, tell=quiet)
        assert state(palace) == before
        named = {each.pid: each for each in found.holders.processes}
        assert "chroma.sqlite3" in named[writer.pid].files
        assert not named[writer.pid].stopped
        assert found.verdict == "healthy"
        assert "never" in {each.name for each in found.reading.collections}
        os.kill(writer.pid, signal.SIGSTOP)
        try:
            os.waitid(os.P_PID, writer.pid, os.WSTOPPED | os.WNOWAIT)
            stopped = diagnose(palace, tell=quiet).holders.processes
            assert [each.stopped for each in stopped if each.pid == writer.pid] == [True]
        finally:
            os.kill(writer.pid, signal.SIGCONT)


def test_damage_beside_a_living_process_that_leaves_it_alone_stands(palace: Path) -> None:
    HARM["pickle cut"][0](palace)
    with holder(HOLD, str(palace / "chroma.sqlite3")):
        found = diagnose(palace, tell=quiet, pause_s=0)
    assert found.readings == 2
    assert found.verdict == "damaged"


REWRITE = """
import os, sys, threading
stop = threading.Event()
def work():
    while not stop.is_set():
        with open(sys.argv[1], "r+b") as file:
            file.truncate(int(sys.argv[2]))
            os.utime(sys.argv[1])
thread = threading.Thread(target=work)
held = open(sys.argv[1], "rb")
thread.start()
print("ready", flush=True)
sys.stdin.read()
stop.set()
thread.join()
"""


def test_what_a_writer_is_at_is_in_motion_and_no_verdict(palace: Path) -> None:
    file = segment_of(palace) / "index_metadata.pickle"
    with holder(REWRITE, str(file), "400"):
        done = run(str(palace), "--json")
    said = json.loads(done.stdout)
    assert said["verdict"] == "in motion"
    assert done.returncode == ExitCode.UNKNOWN
    assert said["readings"] == 2
    serious = [each for each in said["findings"] if each["severity"] != "note"]
    assert serious
    assert not any(each["stands"] for each in serious)


WRITE_ALL_THE_TIME = """
import sqlite3, sys, threading
stop = threading.Event()
def work():
    db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
    if len(sys.argv) > 2:
        db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE IF NOT EXISTS pairs (a, b)")
    first = True
    while not stop.is_set():
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO pairs VALUES (1, hex(randomblob(3000)))")
        db.execute("INSERT INTO pairs VALUES (2, hex(randomblob(3000)))")
        db.execute("COMMIT")
        if first:
            print("ready", flush=True)
            first = False
    db.close()
thread = threading.Thread(target=work)
thread.start()
sys.stdin.read()
stop.set()
thread.join()
"""


@pytest.mark.parametrize("wal", [(), ("wal",)], ids=["journal", "wal"])
def test_a_writer_that_never_pauses_is_copied_from_in_one_piece(
    palace: Path, wal: tuple[str, ...]
) -> None:
    execute(palace / "chroma.sqlite3", "CREATE TABLE ballast (a)")
    with holder(WRITE_ALL_THE_TIME, str(palace / "chroma.sqlite3"), *wal) as writer:
        for _ in range(3):
            found = diagnose(palace, tell=quiet, pause_s=0)
            assert writer.pid in {each.pid for each in found.holders.processes}
            assert found.findings == ()
            assert [each.integrity for each in found.reading.databases] == ["ok"]


COMMIT_WHEN_TOLD = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA journal_mode = WAL")
db.execute("CREATE TABLE pairs (a, b)")
print("ready", flush=True)
for _ in sys.stdin:
    for _ in range(20):
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO pairs VALUES (1, hex(randomblob(3000)))")
        db.execute("INSERT INTO pairs VALUES (2, hex(randomblob(3000)))")
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(PASSIVE)")
    print("done", flush=True)
db.close()
"""


def test_a_log_is_not_begun_anew_while_it_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow the copying is: its writer goes on, in the same log."""
    database = tmp_path / "database.sqlite3"
    copied: list[str] = []
    copy_file = private_copy._copy_file
    with holder(COMMIT_WHEN_TOLD, str(database)) as writer:

        def slow(source: Path, target: Path) -> None:
            assert writer.stdin is not None
            assert writer.stdout is not None
            writer.stdin.write("go on\n")
            writer.stdin.flush()
            assert writer.stdout.readline() == "done\n"
            copied.append(source.name)
            copy_file(source, target)

        monkeypatch.setattr(private_copy, "_copy_file", slow)
        into = tmp_path / "copies"
        into.mkdir()
        copy = private_copy.private_copy(database, into, wal=True)
    assert copied == ["database.sqlite3", "database.sqlite3-wal"]
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT a, count(*) FROM pairs GROUP BY a").fetchall() == [
            (1, 40),
            (2, 40),
        ]


def test_nothing_stays_behind_not_even_after_an_interrupt(palace: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    execute(palace / "chroma.sqlite3", "PRAGMA journal_mode = WAL")  # so that it is copied
    assert run(str(palace), TMPDIR=str(scratch)).returncode == 0
    assert list(scratch.iterdir()) == []
    file = palace / "chroma.sqlite3"
    with file.open(
        "r+b"
    ) as handle:  # a sparse giant: the copy cannot be done when the signal comes
        handle.truncate(8 << 30)
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE + START, "diagnose", str(palace)],
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while not list(scratch.rglob("chroma.sqlite3")):
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED
    assert b"Traceback" not in said
    assert list(scratch.iterdir()) == []


def test_no_room_for_a_copy_is_one_sentence(palace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> ScratchDirectory:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reader, "ScratchDirectory", full)
    with pytest.raises(RefusedError, match=r"No space left on device.*set TMPDIR"):
        diagnose(palace, tell=quiet)


# --- bad input ---------------------------------------------------------------------------------


def _loop(place: Path) -> Path:
    (place / "loop").symlink_to("loop")
    return place / "loop"


def _file(place: Path) -> Path:
    (place / "file").write_text("x")
    return place / "file"


BAD: dict[str, Callable[[Path], Path]] = {
    "nothing there": lambda place: place / "nothing",
    "a loop of links": _loop,
    "a file": _file,
    "an empty folder": lambda place: place,
    "a device": lambda _: Path("/dev/null"),
    "no path at all": lambda place: place / "x\udcff[bold]",
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_palace_is_one_sentence(name: str, tmp_path: Path) -> None:
    place = BAD[name](tmp_path)
    before = state(tmp_path)
    done = run(str(place))
    assert done.returncode == ExitCode.USAGE
    assert done.stdout == ""
    assert done.stderr.startswith("palace-lab: ")
    assert done.stderr.count("\n") == 1
    assert state(tmp_path) == before


@only_root
@pytest.mark.parametrize("what", ["", "chroma.sqlite3", "segment"])
def test_what_may_not_be_read_is_refused_and_not_called_damage(what: str) -> None:
    with open_place() as place:
        palace = copied("1.5.9", place)
        target = segment_of(palace) / "header.bin" if what == "segment" else palace / what
        target.chmod(0)
        with as_nobody(), pytest.raises(UsageError, match="may not be read"):
            cli.main(["diagnose", str(palace)], standalone_mode=False)


# --- what is printed ---------------------------------------------------------------------------


def test_the_document_is_as_documented(palace: Path) -> None:
    HARM["pickle cut"][0](palace)
    said = document(diagnose(palace, tell=quiet))
    text = (FIXTURES.parent / "docs" / "diagnose.md").read_text()
    assert said["diagnosis"] == FORMAT
    fields = [*said, *said["holders"], *said["written_by"], *said["databases"][0]]
    fields += [*said["collections"][0], *said["findings"][0]]
    assert [name for name in fields if f"`{name}`" not in text] == []
    for kind in advice.KINDS:
        assert f"`{kind}`" in text


@pytest.mark.parametrize("name", ["[bold red]x[/]", "a\x1b[31mb", "\udcff", "x" * 5000, "漢字"])
@pytest.mark.parametrize("encoding", [pytest.param("utf-8", marks=pytest.mark.nightly), "ascii"])
def test_any_name_can_be_shown(name: str, encoding: str, palace: Path) -> None:
    database = sqlite3.connect(palace / "chroma.sqlite3")
    raw = name.encode("utf-8", "surrogateescape")
    database.execute("UPDATE collections SET name = CAST(? AS TEXT) WHERE name = 'drawers'", (raw,))
    database.commit()
    database.close()
    plain = run(str(palace), PYTHONIOENCODING=encoding)
    assert plain.returncode == 0, plain.stderr
    assert "\x1b" not in plain.stdout
    assert "Traceback" not in plain.stderr
    said = json.loads(run(str(palace), "--json", PYTHONIOENCODING=encoding).stdout)
    assert name in {each["name"] for each in said["collections"]}
    if "[bold" in name:
        assert name in plain.stdout


class Terminal:
    """A terminal of 80 columns that keeps what is written to it."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


def test_80_columns_are_enough_but_for_paths(palace: Path) -> None:
    HARM["index renamed"][0](palace)
    terminal = Terminal()
    console = Console(terminal, width=80, environ={"NO_COLOR": "1", "TERM": "xterm"})  # type: ignore[arg-type]
    show(diagnose(palace, tell=quiet), console)
    wide = [line for line in terminal.text.splitlines() if len(line) > 80]
    assert [line for line in wide if str(palace) not in line] == []
    assert "segment-missing" in terminal.text
    assert "index missing, 0 vectors" in terminal.text


# --- bounds ------------------------------------------------------------------------------------


def test_many_and_hostile_things_cost_little(palace: Path) -> None:
    segment = segment_of(palace)
    os.truncate(segment / "index_metadata.pickle", 1 << 40)
    os.truncate(segment / "data_level0.bin", 1 << 40)
    found = diagnose(palace, tell=quiet)
    assert {"pickle-torn"} <= kinds(found)


def test_a_reader_that_dies_is_told_by_its_signal(
    palace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        reader, "_BOOTSTRAP", "import os, signal; os.kill(os.getpid(), signal.SIGBUS)"
    )
    with pytest.raises(reader.ReaderDiedError, match="ended by SIGBUS"):
        diagnose(palace, tell=quiet)
