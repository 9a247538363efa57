"""Locks beside directories, directories built once, and what uv is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from palace_lab.environments import inventory
from palace_lab.errors import RefusedError
from palace_lab.provision import buildonce, dirlock, indexes, uvtool

sys.path.append(str(Path(__file__).parent / "entries"))
from nobody import as_nobody, only_root, open_place


@pytest.mark.parametrize("first", [True, False], ids=["shared", "alone"])
@pytest.mark.parametrize("second", [True, False], ids=["shared", "alone"])
def test_only_sharers_share(tmp_path: Path, *, first: bool, second: bool) -> None:
    path = tmp_path / "lock"
    one = dirlock.try_take(path, shared=first)
    assert one is not None
    other = dirlock.try_take(path, shared=second)
    assert (other is not None) == (first and second)
    os.close(one)
    again = dirlock.try_take(path, shared=second) if other is None else other
    assert again is not None
    os.close(again)


def test_a_wait_is_bounded_and_says_for_whom(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held = dirlock.try_take(path, shared=False)
    assert held is not None
    told: list[str] = []
    with pytest.raises(RefusedError, match=f"process {os.getpid()} has held .* more than 0 s"):
        dirlock.take(path, shared=True, seconds_max=0.3, waiting=told.append)
    assert told == [f"waiting for process {os.getpid()}, which holds lock"]
    os.close(held)


def test_a_lock_on_a_removed_file_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    real_open = dirlock._open
    opened: list[int] = []

    def open_then_lose_once(where: Path, *, shared: bool) -> int:
        descriptor = real_open(where, shared=shared)
        if not opened:
            where.unlink()
        opened.append(descriptor)
        return descriptor

    monkeypatch.setattr(dirlock, "_open", open_then_lose_once)
    held = dirlock.try_take(path, shared=False)
    assert len(opened) == 2
    assert held is not None
    assert held == opened[1]
    assert dirlock.try_take(path, shared=True) is None
    os.close(held)


def test_a_child_that_was_handed_the_lock_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held = dirlock.try_take(path, shared=False)
    assert held is not None
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(held,)
    ) as child:
        os.close(held)
        assert dirlock.try_take(path, shared=True) is None
        child.communicate(b"\n", timeout=60)
    freed = dirlock.try_take(path, shared=True)
    assert freed is not None
    os.close(freed)


def provide(directory: Path, builds: list[int]) -> int | None:
    def build(lock: int) -> str:
        directory.mkdir()
        builds.append(lock)
        return "mark"

    return buildonce.provide(directory, build, is_sound=lambda _: True, waiting=lambda _: None)


def test_a_directory_is_built_once_and_kept_while_used(tmp_path: Path) -> None:
    directory = tmp_path / "parent" / "thing"
    builds: list[int] = []
    one, other = provide(directory, builds), provide(directory, builds)
    assert len(builds) == 1
    assert one is not None
    assert other is not None
    assert not buildonce.discard(directory, unless=lambda: False)
    os.close(one)
    os.close(other)
    assert not buildonce.discard(directory, unless=lambda: True)
    assert buildonce.discard(directory, unless=lambda: False)
    assert list(directory.parent.iterdir()) == []


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "thing"

    def build(_lock: int) -> str:
        (directory / "part").mkdir(parents=True)
        raise RefusedError("no")

    with pytest.raises(RefusedError, match="no"):
        buildonce.provide(directory, build, is_sound=lambda _: True, waiting=lambda _: None)
    assert not directory.exists()


def test_a_directory_that_never_stays_is_given_up(tmp_path: Path) -> None:
    directory = tmp_path / "thing"
    builds: list[int] = []

    def build(lock: int) -> str:
        directory.mkdir()
        builds.append(lock)
        return "mark"

    with pytest.raises(RefusedError, match="vanished 5 times"):
        buildonce.provide(directory, build, is_sound=lambda _: False, waiting=lambda _: None)
    assert len(builds) == 5


def uv_words(environ: dict[str, str], config: str = "", *, at: Path) -> dict[str, str]:
    pip_file = at / "pip.conf"
    pip_file.write_text(config)
    surroundings = {"HOME": str(at), "XDG_CONFIG_HOME": str(at), **environ}
    told = indexes.uv_environment(surroundings, pip_files=[pip_file])
    return {name: value for name, value in told.items() if name.startswith(("UV_", "SSL_"))}


INDEX = "https://mirror.invalid/simple"


@pytest.mark.parametrize(
    ("environ", "config", "expected"),
    [
        ({}, "", {}),
        ({}, f"[global]\nindex-url = {INDEX}\n", {"UV_DEFAULT_INDEX": INDEX}),
        ({}, f"[install]\nindex_url = {INDEX}\n", {"UV_DEFAULT_INDEX": INDEX}),
        ({"PIP_INDEX_URL": INDEX}, "[global]\nindex-url = x\n", {"UV_DEFAULT_INDEX": INDEX}),
        ({"PIP_INDEX_URL": INDEX, "UV_INDEX_URL": "own"}, "", {"UV_INDEX_URL": "own"}),
        ({"PIP_EXTRA_INDEX_URL": INDEX, "PIP_FIND_LINKS": "/w"}, "", {}),
        (
            {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/w /v"},
            "",
            {"UV_NO_INDEX": "1", "UV_FIND_LINKS": "/w,/v"},
        ),
        ({"UV_CONSTRAINT": "c.txt", "UV_PYTHON": "3.9"}, "", {}),
        ({"UV_CACHE_DIR": "/c"}, "not a configuration", {"UV_CACHE_DIR": "/c"}),
        ({"PIP_CERT": "/no/such/file"}, "", {}),
    ],
)
def test_uv_is_told_what_pip_was_told(
    tmp_path: Path, environ: dict[str, str], config: str, expected: dict[str, str]
) -> None:
    assert uv_words(environ, config, at=tmp_path) == expected


def test_a_uv_configuration_of_the_user_wins(tmp_path: Path) -> None:
    (tmp_path / "uv").mkdir()
    (tmp_path / "uv" / "uv.toml").touch()
    assert uv_words({"PIP_INDEX_URL": INDEX}, at=tmp_path) == {}


def test_the_certificate_of_pip_is_passed_on_unless_another_is_named(tmp_path: Path) -> None:
    certificate = tmp_path / "ca.pem"
    certificate.touch()
    told = {"PIP_CERT": str(certificate)}
    assert uv_words(told, at=tmp_path) == {"SSL_CERT_FILE": str(certificate)}
    own = {"SSL_CERT_FILE": "/own.pem"}
    assert uv_words({**told, **own}, at=tmp_path) == own


@pytest.mark.parametrize("module", ["buildonce", "dirlock", "indexes", "uvtool"])
def test_the_ground_of_the_bootstrap_needs_only_the_standard_library(module: str) -> None:
    # Isolated and without site-packages: what is there is Python and the checkout.
    lab = Path(dirlock.__file__).parents[2]
    program = f"import sys; sys.path.insert(0, sys.argv[1]); import palace_lab.provision.{module}"
    command = [sys.executable, "-I", "-S", "-c", program, str(lab)]
    subprocess.run(command, check=True, timeout=60)


@only_root
def test_a_place_of_another_user_is_refused_in_one_sentence() -> None:
    with open_place() as place:
        theirs = place / "theirs"
        theirs.mkdir(mode=0o700)
        wanted = theirs / "environments" / "chroma"
        with as_nobody():
            with pytest.raises(PermissionError) as raised:
                buildonce.is_complete(wanted)
            said = str(uvtool.refuse_os_error(raised.value, wanted))
            with pytest.raises(RefusedError, match=f"cannot read {wanted.parent}: Permission"):
                inventory.list_environments(theirs)
    assert said.startswith(f"cannot write {wanted}: Permission denied (")
    assert "bytes are free there" in said


@only_root
def test_an_environment_of_another_user_is_listed_as_unreadable() -> None:
    with open_place() as place:
        theirs = place / "chroma-1.5.9-py3.11-abc"
        theirs.mkdir(mode=0o700)
        with as_nobody():
            (found,) = inventory._directories(place)
            listed = inventory._read(found)
    assert (listed.release, listed.python, listed.state) == ("1.5.9", "3.11", "unreadable")
