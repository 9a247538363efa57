from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from palace_lab.errors import RefusedError
from palace_lab.processes import janitor, roots, scratch
from palace_lab.processes.scratch import ScratchDirectory, run_id_of, sweep

sys.path.append(str(Path(__file__).parent / "entries"))
from nobody import as_nobody, only_root, open_place

SLEEP = [sys.executable, "-I", "-S", "-c", "import time; print(flush=True); time.sleep(600)"]


def sleeper(**environ: str) -> subprocess.Popen[bytes]:
    """Start a process that does nothing, and wait until it does so."""
    process = subprocess.Popen(SLEEP, env=environ, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    return process


def made(root: Path, run_id: str) -> Path:
    place = root / f"{janitor.PREFIX}{run_id}"
    place.mkdir()
    (place / janitor.MARKER).write_text(run_id)
    (place / scratch._LOCK).touch()
    return place


def test_a_scratch_directory_is_there_and_then_gone(tmp_path: Path) -> None:
    with ScratchDirectory(tmp_path) as directory:
        assert directory.path.parent == tmp_path.resolve()
        assert run_id_of(directory.path / "deep" / "down") == directory.run_id
        (directory.path / "shelf").mkdir()
        (directory.path / "shelf" / "book").touch()
        assert directory._janitor is not None
        process = directory._janitor._process
    assert list(tmp_path.iterdir()) == []
    assert process.returncode == 0
    assert run_id_of(tmp_path) is None
    with pytest.raises(ValueError, match="with block"):
        _ = directory.path


def test_it_is_gone_after_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), ScratchDirectory(tmp_path):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_kept_directory_stays_for_good(tmp_path: Path) -> None:
    with ScratchDirectory(tmp_path, keep=True) as directory:
        path = directory.path
        (path / "book").touch()
    assert sweep(tmp_path) == []
    assert (path / "book").exists()


def test_what_a_fault_made_unwritable_is_removed_and_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "book").touch()
    outside.chmod(0o500)
    with ScratchDirectory(tmp_path / "root") as directory:
        shelf = directory.path / "shelf" / "board"
        shelf.mkdir(parents=True)
        (shelf / "book").touch()
        (directory.path / "link").symlink_to(outside)
        shelf.chmod(0o000)
        shelf.parent.chmod(0o000)
    assert list((tmp_path / "root").iterdir()) == []
    assert (outside / "book").exists()
    assert outside.stat().st_mode & 0o777 == 0o500


def test_stale_directories_are_swept_and_nothing_else(tmp_path: Path) -> None:
    stale = made(tmp_path, "stale")
    alive = made(tmp_path, "alive")
    unmarked = tmp_path / f"{janitor.PREFIX}unmarked"
    unmarked.mkdir()
    other = made(tmp_path, "other").rename(tmp_path / "someone-elses")
    with (alive / scratch._LOCK).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert sweep(tmp_path) == [stale]
    assert sorted(tmp_path.iterdir()) == sorted([alive, unmarked, other])
    with ScratchDirectory(tmp_path):
        assert not alive.exists()


@only_root
def test_what_belongs_to_another_user_is_passed_over() -> None:
    with open_place() as root:
        theirs = made(root, "theirs")
        theirs.chmod(0o700)
        with as_nobody():
            assert list(root.glob(f"{janitor.PREFIX}*")) == [theirs]
            assert sweep(root) == []
        assert (theirs / janitor.MARKER).exists()
        assert sweep(root) == [theirs]


@pytest.mark.parametrize("wrong", ["name", "id", "marker"])
def test_the_janitor_removes_only_what_is_its_own(tmp_path: Path, wrong: str) -> None:
    place = made(tmp_path, "run")
    if wrong == "name":
        place = place.rename(tmp_path / "precious")
    elif wrong == "marker":
        (place / janitor.MARKER).unlink()
    run_id = "walk" if wrong == "id" else "run"
    assert not janitor.remove(place, run_id)
    assert place.exists()


def test_the_janitor_ends_only_processes_of_its_run(tmp_path: Path) -> None:
    ours = sleeper(PALACE_LAB_RUN="run")
    housed = sleeper(HOME=str(tmp_path / "home"))
    others = [sleeper(PALACE_LAB_RUN="run2"), sleeper(HOME=f"{tmp_path}2/home"), sleeper()]
    janitor.end_processes(tmp_path, "nobody")  # returns: nothing is the run "nobody"'s but housed
    assert housed.wait(10) == -signal.SIGKILL
    assert ours.poll() is None
    janitor.end_processes(tmp_path, "run")
    assert ours.wait(10) == -signal.SIGKILL
    assert [other.poll() for other in others] == [None, None, None]
    for other in others:
        other.kill()
        other.wait()


def test_the_janitor_outlives_a_killed_main_and_then_goes(tmp_path: Path) -> None:
    code = """
import subprocess, sys
from pathlib import Path
from palace_lab.processes.scratch import ScratchDirectory
with ScratchDirectory(Path(sys.argv[1])) as directory:
    (directory.path / "book").touch()
    left = subprocess.Popen(sys.argv[2:], env={"PALACE_LAB_RUN": directory.run_id},
                            stdout=subprocess.PIPE)
    left.stdout.readline()
    print(directory._janitor.pid, left.pid, flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), *SLEEP],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as main:
        assert main.stdout is not None
        keeper, left = map(int, main.stdout.readline().split())
        assert len(list(tmp_path.iterdir())) == 1
        os.killpg(os.getpgid(keeper), signal.SIGTERM)  # a session of its own, and not impressed
        main.kill()
    deadline = time.monotonic() + 20
    try:
        while (_runs(keeper) or _runs(left)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (_runs(keeper), _runs(left)) == (False, False)
        assert list(tmp_path.iterdir()) == []
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(left, signal.SIGKILL)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_an_import_root_holds_the_two_packages_and_nothing_else(tmp_path: Path) -> None:
    root = roots.make_import_root(tmp_path / "root")
    assert roots.make_import_root(root) == root
    assert sorted(place.name for place in root.iterdir()) == ["palace_lab", "palace_store"]
    assert (root / "palace_lab").resolve() == Path(janitor.__file__).resolve().parents[1]
    (root / "palace_lab").unlink()
    (root / "palace_lab").symlink_to(tmp_path)
    with pytest.raises(RefusedError, match="directory of its own"):
        roots.make_import_root(root)
