"""`palace-lab mend`: a mended copy with every vector that is left, and the palace as it was."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click
import pytest

from palace_lab.cli import palace_lab as cli
from palace_lab.environments import ensure
from palace_lab.errors import ExitCode, LabError, RefusedError, UsageError
from palace_lab.repro import mending
from palace_lab.repro.diagnosis import diagnose
from palace_lab.repro.mending import check_target, copy_palace, mend_copy
from palace_store.anatomy import survey
from palace_store.errors import PalaceError
from palace_store.shell import beyond_help, out_of_room

sys.path.append(str(Path(__file__).parent / "entries"))
from harm import unlink
from store_bench import by_day

FIXTURES = Path(__file__).parent.parent / "fixtures"
RELEASES = ("0.5.23", "0.6.3", "1.0.21", "1.3.7", "1.5.9")


def copied(release: str, into: Path) -> Path:
    target = into / "palace"
    shutil.copytree(FIXTURES / f"chroma-{release}" / "palace", target)
    return target


def content(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def quiet(_: str) -> None:
    pass


def mended(*words: str | Path) -> int:
    code: int = cli.main(["mend", *map(str, words)], standalone_mode=False)
    return code


def headless(palace: Path) -> None:
    for file in palace.glob("*-*/header.bin"):
        file.unlink()


def set_aside(palace: Path) -> None:
    for file in [*palace.glob("*-*/header.bin")]:
        file.parent.rename(f"{file.parent}.drift-20260101-000000")


def gone(palace: Path) -> None:
    for file in [*palace.glob("*-*/header.bin")]:
        shutil.rmtree(file.parent)


@pytest.mark.slow
@pytest.mark.s1
@pytest.mark.parametrize("harm", [headless, set_aside])
@pytest.mark.parametrize("release", by_day(RELEASES, ("0.6.3", "1.5.9")))
def test_what_a_file_still_holds_is_in_the_copy_and_the_palace_stays(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    release: str,
    harm: Callable[[Path], None],
) -> None:
    palace, copy = copied(release, tmp_path), tmp_path / "copy"
    harm(palace)
    before = content(palace)
    assert mended(palace, "--into", copy, "--release", release) == ExitCode.PROMISED
    assert content(palace) == before
    said = capsys.readouterr().out
    assert f"{copy}: healthy" in said
    assert "collection drawers: 119 rows" in said
    answers = json.loads((FIXTURES / f"chroma-{release}" / "answers.json").read_text())
    for each in survey(copy).collections:
        assert set(each.served) == set(answers[each.name]["drawers"])
    assert diagnose(copy, tell=quiet).verdict == "healthy"


@pytest.mark.slow
@pytest.mark.s1
def test_what_no_link_led_to_is_counted_before_and_after(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    palace = copied("1.5.9", tmp_path)
    names = unlink(next(palace.glob("*/data_level0.bin")).parent, 3)
    unreachable = {name for each in survey(palace).findings for name in each.ids}
    assert unreachable >= set(names)
    assert mended(palace, "--into", tmp_path / "copy") == ExitCode.PROMISED
    assert f"found by no search: {len(unreachable)} before, 0 now" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.s1
def test_what_is_lost_is_named_and_the_copy_is_not_called_healthy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    palace, copy = copied("1.5.9", tmp_path), tmp_path / "copy"
    gone(palace)
    lost = {each.name: len(each.unrecoverable) for each in survey(palace).collections}
    assert mended(palace, "--into", copy) == ExitCode.VIOLATED
    said = capsys.readouterr().out
    assert f"opened there with chromadb {RELEASES[-1]}" in said
    assert f"{lost['drawers']} now" in said
    assert "write these again, from their documents: 'drawer-000'" in said
    assert f"diagnose {copy}" in said
    # The next diagnosis says what is left to do, which is not the same again.
    found = diagnose(copy, tell=quiet)
    assert {each.advice.mends for each in found.findings} == {False}
    assert any("from their documents" in each.advice.remedy for each in found.findings)


def test_a_healthy_palace_gets_no_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    palace = copied("1.5.9", tmp_path)
    assert mended(palace, "--into", tmp_path / "copy") == ExitCode.PROMISED
    assert "nothing to mend" in capsys.readouterr().out
    assert not (tmp_path / "copy").exists()
    with pytest.raises(UsageError, match="is there already"):
        mended(palace, "--into", tmp_path)  # said before anything is read
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere", "--into", "copy"], "there is nothing at"),
        (["palace", "--into", "palace/copy"], "in the palace itself"),
        (["palace", "--into", "palace"], "is there already"),
        (["palace", "--into", "none/copy"], "cannot be made"),
        (["palace", "--into", "old/chroma.sqlite3/copy"], "cannot be made"),
        (["palace", "--into", "/proc/copy"], "cannot be made"),
        (["palace", "--into", "x" * 300], "cannot be made"),
        (["palace", "--into", ""], "the path is empty"),
        (["palace", "--into", "copy", "--release", "0.6.3"], "older than the 1.5.0"),
        (["palace", "--into", "copy", "--release", "9.9.9"], "there is no chromadb 9.9.9"),
        (["old", "--into", "copy"], "say with --release"),
    ],
)
def test_what_makes_no_sense_is_one_sentence_and_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    headless(copied("1.5.9", tmp_path))
    shutil.copytree(FIXTURES / "chroma-0.4.24" / "palace", tmp_path / "old")
    headless(tmp_path / "old")
    monkeypatch.chdir(tmp_path)
    before = content(tmp_path)
    with pytest.raises((UsageError, click.UsageError)) as refused:
        mended(*words)
    assert told in str(refused.value)
    assert content(tmp_path) == before


def test_a_palace_in_use_is_not_copied(tmp_path: Path) -> None:
    palace = copied("1.5.9", tmp_path)
    headless(palace)
    program = "import sys; held = open(sys.argv[1]); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(palace / "chroma.sqlite3")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(UsageError, match=rf"in use by python.* \(pid {holder.pid}\)"):
            mended(palace, "--into", tmp_path / "copy")
        with pytest.raises(UsageError, match="in use by"):
            copy_palace(palace, tmp_path / "copy", quiet)
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("what", ["link", "fifo"])
def test_what_is_no_file_is_not_copied(tmp_path: Path, what: str) -> None:
    palace = copied("1.5.9", tmp_path)
    odd = palace / "odd"
    if what == "link":
        odd.symlink_to(tmp_path)
    else:
        os.mkfifo(odd)
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        copy_palace(palace, tmp_path / "copy", quiet)
    assert not (tmp_path / "copy").exists()


def test_a_hostile_pickle_is_never_opened_with_chromadb(tmp_path: Path) -> None:
    palace = copied("1.5.9", tmp_path)
    min(palace.glob("*/index_metadata.pickle")).write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    assert mended(palace, "--into", tmp_path / "copy") == ExitCode.VIOLATED
    headless(palace)
    with pytest.raises(UsageError, match="do not open the palace with chromadb"):
        mended(palace, "--into", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    ("code", "error"), [("ENOSPC", RefusedError), ("EIO", LabError)], ids=["full", "broken"]
)
def test_a_copy_that_cannot_be_finished_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, error: type[LabError]
) -> None:
    palace = copied("1.5.9", tmp_path)
    before = content(palace)

    def fails(*_: Any) -> None:
        number = getattr(errno, code)
        raise OSError(number, os.strerror(number), str(tmp_path / "copy" / "file"))

    monkeypatch.setattr(shutil, "copystat", fails)
    with pytest.raises(error, match="the palace is as it was"):
        copy_palace(palace, tmp_path / "copy", quiet)
    assert not (tmp_path / "copy").exists()
    assert content(palace) == before


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (sqlite3.OperationalError("database or disk is full"), True),
        (RuntimeError("error returned from database: (code: 13) database or disk is full"), True),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x"), True),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), True),
        (OSError(errno.EIO, os.strerror(errno.EIO)), False),
    ],
)
def test_a_full_disk_is_known_by_what_is_said_of_it(error: Exception, full: bool) -> None:
    wrapped = PalaceError("it cannot be opened")
    wrapped.__cause__ = error
    assert out_of_room(error) is full
    assert out_of_room(wrapped) is full
    assert ("make room" in beyond_help("palace", error)) is full


def test_a_palace_that_changes_meanwhile_is_not_copied(tmp_path: Path) -> None:
    palace = copied("1.5.9", tmp_path)
    with pytest.raises(LabError, match="changed while it was copied"):
        copy_palace(palace, tmp_path / "copy", lambda _: (palace / "chroma.sqlite3").touch())
    assert not (tmp_path / "copy").exists()


def test_the_copy_has_files_of_its_own_and_says_how_far_it_is(tmp_path: Path) -> None:
    palace = copied("1.5.9", tmp_path)
    said: list[str] = []
    copy_palace(palace, check_target(palace, tmp_path / "copy"), said.append)
    assert content(tmp_path / "copy") == content(palace)
    assert any("left" in line and "/s" in line for line in said)


@pytest.mark.slow
@pytest.mark.s1
def test_the_death_of_the_mending_process_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    palace = copied("1.5.9", tmp_path)
    environment = ensure("1.5.9")
    killed: list[int] = []

    def kill(process: Any, *_: Any) -> bytes:
        killed.append(process.pid)
        process.kill()
        process.wait()
        return b""

    monkeypatch.setattr(mending, "watch", kill)
    with pytest.raises(LabError, match="was killed by SIGKILL; the copy was removed"):
        mend_copy(palace, environment, quiet)
    assert killed
    assert not palace.exists()


@contextmanager
def small_disk(place: Path, size_bytes: int) -> Iterator[Path]:
    """Mount a disk of that size at a place; skips where that is not allowed."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None:
        pytest.skip("a small disk needs the mount program")
    place.mkdir()
    words = [mount, "-t", "tmpfs", "-o", f"size={size_bytes}", "none", str(place)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        yield place
    finally:
        subprocess.run([umount, str(place)], check=True)


@pytest.mark.slow
@pytest.mark.s1
@pytest.mark.parametrize("release", ["0.6.3", "1.5.9"])
def test_a_disk_that_fills_while_the_copy_is_mended_is_no_room(
    tmp_path: Path, release: str
) -> None:
    palace = copied(release, tmp_path)
    headless(palace)
    before = content(palace)
    weight = sum(len(each) for _, each in before.values())
    with small_disk(tmp_path / "disk", weight + 40_000) as disk:
        with pytest.raises(RefusedError, match=r"no room for the copy .* make room") as refused:
            mended(palace, "--into", disk / "copy", "--release", release)
        assert list(disk.iterdir()) == []
    assert "nothing more can be done" not in str(refused.value)
    assert content(palace) == before


def no_settings(palace: Path) -> None:
    changed(palace, "UPDATE collections SET config_json_str = '{nope' WHERE name = 'few'")
    headless(palace)


@pytest.mark.slow
@pytest.mark.s1
def test_what_chromadb_does_not_go_on_from_is_told_and_leaves_no_copy(tmp_path: Path) -> None:
    palace = copied("1.5.9", tmp_path)
    no_settings(palace)
    before = content(palace)
    with pytest.raises(LabError, match=r"chromadb does not go on from .*deserialize.*was removed"):
        mended(palace, "--into", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert content(palace) == before


def text_watermark(palace: Path) -> None:
    changed(palace, "UPDATE max_seq_id SET seq_id = 'abc'")


def marks_beyond(palace: Path) -> None:
    """Let both kinds of watermark name a number that no log has reached."""
    kept = "CASE typeof(seq_id) WHEN 'blob' THEN x'000000e8d4a51000' ELSE 1000000000000 END"
    changed(palace, f"UPDATE max_seq_id SET seq_id = {kept}")  # noqa: S608 - a test's constant


def lengths_emptied(palace: Path) -> None:
    """Let blocks of length.bin be zero, as a loss of power may leave them."""
    for file in palace.glob("*/length.bin"):
        file.write_bytes(bytes(file.stat().st_size))


def peer_row(palace: Path) -> None:
    """Leave a row below the watermark that no index knows, as a second writer does."""
    changed(palace, "UPDATE embeddings SET seq_id = 3 WHERE embedding_id = 'drawer-130'")
    changed(palace, "DELETE FROM embeddings_queue WHERE id = 'drawer-130'")


def log_emptied(palace: Path) -> None:
    changed(palace, "DELETE FROM embeddings_queue")


def changed(palace: Path, statement: str) -> None:
    with closing(sqlite3.connect(palace / "chroma.sqlite3")) as connection, connection:
        connection.execute(statement)


def test_what_chromadb_cannot_open_is_not_copied(tmp_path: Path) -> None:
    palace = copied("1.5.9", tmp_path)
    headless(palace)
    changed(palace, "DELETE FROM migrations WHERE dir = 'sysdb'")
    with pytest.raises(UsageError, match=r"table of migrations .* restore the file from a backup"):
        mended(palace, "--into", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.slow
@pytest.mark.s1
@pytest.mark.parametrize("release", [pytest.param("0.6.3", marks=pytest.mark.nightly), "1.5.9"])
@pytest.mark.parametrize(
    "harm",
    [
        text_watermark,
        pytest.param(marks_beyond, marks=pytest.mark.nightly),
        lengths_emptied,
        pytest.param(peer_row, marks=pytest.mark.nightly),
        log_emptied,
    ],
    ids=lambda h: h.__name__,
)
def test_what_a_copy_will_not_find_is_said_before_it_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], release: str, harm: Any
) -> None:
    palace = copied(release, tmp_path)
    harm(palace)
    found = survey(palace)
    told = {each.name: {*each.unrecoverable, *each.doubtful} for each in found.collections}
    old = sorted({name for each in found.collections for name in each.changes_lost})
    code = mended(palace, "--into", tmp_path / "copy")
    out = capsys.readouterr().out
    after = survey(tmp_path / "copy")
    for each in after.collections:
        assert set(each.missing_from_index) <= told[each.name]
        assert len(told[each.name]) - len(each.missing_from_index) <= 1, "far more was said"
    assert bool(found.collection("drawers").doubtful) == (harm is peer_row)
    assert ("finds" in out and "fewer than the palace" in out) == (harm is peer_row), out
    mends = harm in (text_watermark, marks_beyond, lengths_emptied)
    assert (code == ExitCode.PROMISED) == mends, out
    if harm is log_emptied:
        assert old
        assert "they are found by the vector they had before" in out


@pytest.mark.slow
@pytest.mark.s1
def test_the_library_mends_from_a_shell_and_makes_no_palace(tmp_path: Path) -> None:
    python = ensure("1.5.9").python
    lab = Path(mending.__file__).parents[2]

    def called(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, "-m", "palace_store.mend", *words],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(lab)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    assert called().returncode == 2
    none = called(str(tmp_path / "none"))
    assert (none.returncode, none.stdout) == (2, "")
    assert "name the folder of a palace" in none.stderr
    assert not (tmp_path / "none").exists()
    palace = copied("1.5.9", tmp_path)
    headless(palace)
    done = called(str(palace))
    assert done.returncode == 0
    assert json.loads(done.stdout)["drawers"] == {"rows": 119, "unfindable": []}
    assert diagnose(palace, tell=quiet).verdict == "healthy"
