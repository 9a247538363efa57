"""The report's quarantine, parameter by parameter, and what our own recovery leaves behind."""

from __future__ import annotations

import ast
import contextlib
import logging
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from palace_store import quarantine
from palace_store.errors import PalaceInputError
from palace_store.fixes import Fixes
from palace_store.quarantine import (
    KEPT,
    OPT_OUT,
    quarantine_stale_hnsw,
    segment_directories,
    set_aside,
    thin_out,
)

pytestmark = pytest.mark.s1

NOW = 1_700_000_000.0
YEAR_S = 365 * 86400.0
POWERLESS = Path(__file__).parent / "entries" / "powerless.py"


def palace(root: Path, *ages_s: float) -> list[Path]:
    """Make a palace whose segments' data is that much older than its database."""
    (root / "chroma.sqlite3").touch()
    os.utime(root / "chroma.sqlite3", (NOW, NOW))
    segments = []
    for number, age_s in enumerate(ages_s):
        segment = root / str(uuid.UUID(int=number + 1))
        segment.mkdir()
        data = segment / "data_level0.bin"
        data.write_bytes(bytes([number]))
        os.utime(data, (NOW - age_s, NOW - age_s))
        segments.append(segment)
    return segments


def test_a_stale_segment_is_renamed_and_its_new_path_returned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stale, fresh = palace(tmp_path, 3601, 3600)
    with caplog.at_level(logging.WARNING):
        (moved,) = quarantine_stale_hnsw(str(tmp_path))
    assert isinstance(moved, str)
    assert re.fullmatch(rf"{re.escape(str(stale))}\.drift-\d{{8}}-\d{{6}}", moved)
    assert (Path(moved) / "data_level0.bin").read_bytes() == b"\0"
    assert not stale.exists()
    assert fresh.exists()
    assert "3601 s older" in caplog.text


def test_the_age_is_a_parameter(tmp_path: Path) -> None:
    palace(tmp_path, 11, 10)
    assert len(quarantine_stale_hnsw(tmp_path, stale_seconds=10)) == 1


def test_several_segments_of_one_second_do_not_collide_and_none_is_renamed_twice(
    tmp_path: Path,
) -> None:
    segments = palace(tmp_path, *([7200.0] * 5))
    moved = quarantine_stale_hnsw(tmp_path)
    assert len(set(moved)) == len(segments)
    assert quarantine_stale_hnsw(tmp_path) == []
    assert segment_directories(tmp_path) == []


def test_one_segment_twice_in_a_second_gets_two_names(tmp_path: Path) -> None:
    (segment,) = palace(tmp_path, 0)
    names = set()
    for _ in range(4):
        names.add(set_aside(segment, "drift").name)
        segment.mkdir()
    assert len(names) == 4


def test_nothing_to_do(tmp_path: Path) -> None:
    assert quarantine_stale_hnsw(tmp_path / "missing") == []
    segment = tmp_path / str(uuid.UUID(int=9))
    segment.mkdir()
    assert quarantine_stale_hnsw(tmp_path) == []  # no database
    (tmp_path / "chroma.sqlite3").touch()
    assert quarantine_stale_hnsw(tmp_path) == []  # never written
    (tmp_path / str(uuid.UUID(int=8))).write_text("no directory")
    (tmp_path / "backup-of-mine").mkdir()
    assert quarantine_stale_hnsw(tmp_path) == []
    assert segment.exists()


@pytest.mark.parametrize("value", ["0", "false", "No", " off "])
def test_the_variable_switches_it_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    (segment,) = palace(tmp_path, 7200)
    monkeypatch.setenv(OPT_OUT, value)
    assert quarantine_stale_hnsw(tmp_path) == []
    assert segment.exists()
    monkeypatch.setenv(OPT_OUT, "1")
    assert len(quarantine_stale_hnsw(tmp_path)) == 1


def test_the_variable_must_be_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (segment,) = palace(tmp_path, 7200)
    monkeypatch.setenv(OPT_OUT, "flase")
    with pytest.raises(PalaceInputError, match="PALACE_QUARANTINE is 'flase': set it to off"):
        quarantine_stale_hnsw(tmp_path)
    assert segment.exists()


TAKEN: dict[str, Callable[[Path], object]] = {
    "an empty directory": Path.mkdir,
    "a directory": lambda path: shutil.copytree(path.with_name(path.name.partition(".")[0]), path),
    "a file": Path.touch,
    "a dangling link": lambda path: path.symlink_to("nowhere"),
}


@pytest.mark.parametrize("what", TAKEN)
def test_a_name_that_is_taken_stays_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    class Frozen(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            assert tz is timezone.utc
            return datetime(2026, 2, 3, 4, 5, 6, tzinfo=timezone.utc)

    monkeypatch.setattr(quarantine, "datetime", Frozen)
    (segment,) = palace(tmp_path, 7200)
    names = [f"{segment.name}.drift-20260203-040506{end}" for end in ("", "-2")]
    for name in names:
        TAKEN[what](tmp_path / name)
    before = {name: os.lstat(tmp_path / name) for name in names}
    assert quarantine_stale_hnsw(tmp_path) == [str(tmp_path / f"{names[0]}-3")]
    for name in names:
        assert os.lstat(tmp_path / name).st_ino == before[name].st_ino
    assert (tmp_path / f"{names[0]}-3" / "data_level0.bin").is_file()


def test_a_segment_kept_elsewhere_by_a_link_is_renamed_where_it_is_linked(tmp_path: Path) -> None:
    (segment,) = palace(tmp_path, 7200)
    elsewhere = segment.rename(tmp_path / "elsewhere")
    segment.symlink_to(elsewhere)
    (moved,) = quarantine_stale_hnsw(tmp_path)
    assert Path(moved).readlink() == elsewhere
    assert (elsewhere / "data_level0.bin").is_file()
    assert not segment.is_symlink()


def test_processes_that_open_at_once_rename_each_segment_once(tmp_path: Path) -> None:
    segments = palace(tmp_path, *([7200.0] * 40))
    command = [sys.executable, str(POWERLESS), str(tmp_path), "--wait"]
    with contextlib.ExitStack() as stack:
        peers = []
        for _ in range(3):
            peer = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            stack.enter_context(peer)
            stack.callback(peer.kill)
            assert peer.stdout
            assert peer.stdout.readline() == "ready\n"
            peers.append(peer)
        for peer in peers:
            assert peer.stdin
            peer.stdin.write("\n")
            peer.stdin.flush()
        said = [peer.communicate(timeout=60)[0] for peer in peers]
    moved = [name for answer in said for name in ast.literal_eval(answer)]
    assert sorted(Path(name).name.partition(".")[0] for name in moved) == [
        segment.name for segment in segments
    ]
    assert all((Path(name) / "data_level0.bin").is_file() for name in moved)
    assert len(list(tmp_path.iterdir())) == 1 + len(
        segments
    )  # no empty name is left by who was late


def in_a_child(palace_path: Path, *words: str, before: tuple[str, ...] = ()) -> str:
    """Return what a quarantine in a process of its own prints and logs."""
    command = [*before, sys.executable, str(POWERLESS), str(palace_path), *words]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True, env=dict(os.environ)
    )
    return done.stdout + done.stderr


@contextlib.contextmanager
def read_only(root: Path) -> Iterator[Callable[[], str]]:
    """A palace directory without the permission to write: chmod holds once root is powerless."""
    root.chmod(0o555)
    try:
        yield lambda: in_a_child(root, "--powerless")
    finally:
        root.chmod(0o755)


@contextlib.contextmanager
def immutable(root: Path) -> Iterator[Callable[[], str]]:
    """A palace directory that its file system keeps as it is, root or not."""
    flags = shutil.which("chattr") or pytest.skip("chattr is not installed")
    if subprocess.run([flags, "+i", str(root)], capture_output=True, check=False).returncode:
        pytest.skip("an immutable flag cannot be set here (root and a file system that has it)")
    try:
        yield lambda: in_a_child(root)
    finally:
        subprocess.run([flags, "-i", str(root)], check=True)


@contextlib.contextmanager
def mounted(root: Path) -> Iterator[Callable[[], str]]:
    """A segment that is a mount point of its own, in a mount namespace that ends with the child."""
    unshare = shutil.which("unshare") or pytest.skip("unshare is not installed")
    segment = segment_directories(root)[-1]
    script = f'mount --bind "{segment}" "{segment}" && exec "$@"'
    before = (unshare, "-rm", "sh", "-c", script, "sh")
    if subprocess.run([*before, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespace of its own for a child here")
    yield lambda: in_a_child(root, before=before)


@pytest.mark.parametrize("means", [read_only, immutable, mounted], ids=lambda each: each.__name__)
def test_a_rename_that_is_refused_is_logged_and_raised_and_the_segment_stays(
    tmp_path: Path, means: Callable[[Path], contextlib.AbstractContextManager[Callable[[], str]]]
) -> None:
    root = tmp_path / "palace"
    root.mkdir()
    (segment,) = palace(root, 7200)
    with means(root) as attempt:
        said = attempt()
    refusal, logged = said.splitlines()
    assert re.fullmatch(
        rf"SetAsideError none segment {re.escape(str(segment))} could not be set aside \([\w ]+\); "
        rf"it stays, .* or set {OPT_OUT}=off .*",
        refusal,
    )
    assert logged.startswith("ERROR:palace_store.quarantine:segment ")
    assert (segment / "data_level0.bin").exists()
    assert sorted(root.iterdir()) == [segment, root / "chroma.sqlite3"]


def test_what_was_renamed_before_a_refusal_stays_renamed_and_is_logged(tmp_path: Path) -> None:
    root = tmp_path / "palace"
    root.mkdir()
    first, last = palace(root, 7200, 7200)
    with mounted(root) as attempt:
        said = attempt()
    assert f"{first} is 7200 s older than its database: now {first}.drift-" in said
    assert f"{last} could not be set aside" in said
    assert last.exists()


# -- clocks: a Raspberry Pi without a battery boots in the past -------------------------------


def test_damage_of_any_age_is_missed_while_the_clock_is_behind(tmp_path: Path) -> None:
    """The database was last written after such a boot, the index before it: younger, says mtime."""
    palace(tmp_path, 7200, -3 * YEAR_S)
    assert len(quarantine_stale_hnsw(tmp_path)) == 1


def test_a_clock_that_is_set_right_makes_an_index_of_a_minute_ago_years_old(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The index was written before time came from the network, the database after it."""
    palace(tmp_path, 3 * YEAR_S)
    with caplog.at_level(logging.WARNING):
        assert len(quarantine_stale_hnsw(tmp_path)) == 1
    assert f"{3 * YEAR_S:.0f} s older" in caplog.text


def test_the_variants_of_the_fix_are_words() -> None:
    reviewed = Fixes.reported("quarantine-review")
    assert reviewed.words() == ["quarantine=reviewed"]
    assert Fixes.parse(reviewed.words()) == reviewed
    assert reviewed.variant("quarantine") == "reviewed"
    assert not reviewed.is_reported("quarantine")
    assert reviewed.variant("lease") is None
    with pytest.raises(
        ValueError, match="has no variant 'guessed'; use none or: on, reported, rev"
    ):
        Fixes.parse(["quarantine=guessed"])


def test_a_segment_that_a_peer_has_just_renamed_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    palace(tmp_path, 7200)

    def vanish(self: Path, target: Path) -> Path:
        raise FileNotFoundError(2, "No such file or directory", str(self), None, str(target))

    monkeypatch.setattr(Path, "rename", vanish)
    assert quarantine_stale_hnsw(tmp_path) == []


def test_recoveries_keep_the_newest_of_each_segment_and_nothing_of_others_goes(
    tmp_path: Path,
) -> None:
    first, second = palace(tmp_path, 0, 0)
    for segment in (first, second):
        for _ in range(KEPT + 2):
            set_aside(segment, "rebuilt")
            segment.mkdir()
    drift = set_aside(first, "drift")
    mine = tmp_path / "my.rebuilt-notes"
    mine.mkdir()
    before = sorted(
        tmp_path.glob(f"{second.name}.*"), key=lambda path: (path.stat().st_ctime_ns, path.name)
    )
    thin_out(tmp_path)
    assert set(tmp_path.glob(f"{second.name}.*")) == set(before[-KEPT:])
    assert len(list(tmp_path.glob(f"{first.name}.rebuilt-*"))) == KEPT
    assert drift.exists()
    assert mine.exists()
    assert second.exists()
