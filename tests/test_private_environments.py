"""The environments of servers: a library under any number, and copies that are apart."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

import palace_store
from palace_lab.environments import ensure, private
from palace_lab.environments.private import LIBRARY, PrivateEnvironment, build_library
from palace_lab.errors import LabError

pytestmark = [pytest.mark.slow, pytest.mark.s0]

RELEASE = "1.5.9"
OTHER = "9.9.9"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wheels")


def test_the_library_is_built_under_the_number_asked_for(wheels: Path) -> None:
    wheel = build_library(OTHER, wheels)
    assert build_library(OTHER, wheels) == wheel
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        init = archive.read("palace_store/__init__.py").decode()
        metadata = archive.read(f"palace_store-{OTHER}.dist-info/METADATA").decode()
    assert f'__version__ = "{OTHER}"' in init
    assert f"\nVersion: {OTHER}\n" in metadata
    assert "palace_store/server/wire.py" in names
    assert "palace_store/anatomy/palace.py" in names
    assert not any("pycache" in name or name.endswith(".toml") for name in names)


def said_by_program(environment: PrivateEnvironment) -> str:
    """Start the command that is installed there as a user does, and return what it serves."""
    program = environment.python.with_name("palace-server")
    done = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout.strip()


@pytest.mark.nightly
def test_a_program_of_a_copy_starts_the_library_of_the_copy(wheels: Path, tmp_path: Path) -> None:
    base = ensure(RELEASE).python
    copy = PrivateEnvironment(tmp_path / "copy", base, "uv", wheels)
    copy.make(RELEASE, palace_store.__version__)
    assert said_by_program(copy) == f"palace_store {palace_store.__version__}, chromadb {RELEASE}"
    (init,) = copy.directory.glob("lib/*/site-packages/palace_store/__init__.py")
    text = init.read_text()
    init.unlink()  # it is the same file in the environment it was copied from
    init.write_text(text.replace(palace_store.__version__, OTHER))
    assert said_by_program(copy) == f"palace_store {OTHER}, chromadb {RELEASE}"
    first = PrivateEnvironment(
        wheels / f"uv-{RELEASE}-{palace_store.__version__}", base, "uv", wheels
    )
    assert said_by_program(first).startswith(f"palace_store {palace_store.__version__},")


def test_links_between_the_programs_of_a_copy_stay_in_it(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    for directory in (there, here):
        (directory / "bin").mkdir(parents=True)
    (there / "bin" / "program").write_text(f"#!{there}/bin/python\n")
    (there / "bin" / "program").chmod(0o755)
    (here / "bin" / "program").hardlink_to(there / "bin" / "program")
    (here / "bin" / "link").symlink_to(there / "bin" / "program")
    (here / "bin" / "python").symlink_to(sys.executable)
    for name in ("program", "link", "python"):
        private.move_program(here / "bin" / name, there, here)
    assert (here / "bin" / "program").read_text() == f"#!{here}/bin/python\n"
    assert (here / "bin" / "program").stat().st_mode & 0o777 == 0o755
    assert (there / "bin" / "program").read_text() == f"#!{there}/bin/python\n"
    assert (here / "bin" / "link").readlink() == here / "bin" / "program"
    assert (here / "bin" / "python").readlink() == Path(sys.executable)


def test_an_upgrade_changes_one_environment_and_no_other(wheels: Path, tmp_path: Path) -> None:
    base = ensure(RELEASE).python
    one, two = (PrivateEnvironment(tmp_path / name, base, "uv", wheels) for name in ("one", "two"))
    now = {"chromadb": RELEASE, LIBRARY: palace_store.__version__}
    for each in (one, two):
        each.make(RELEASE, palace_store.__version__)
        assert each.installed() == now
    (before,) = two.directory.glob("lib/*/site-packages/palace_store/__init__.py")
    kept = before.read_bytes()
    assert before.stat().st_nlink > 1
    one.upgrade(RELEASE, OTHER, "uv")
    assert one.installed() == {"chromadb": RELEASE, LIBRARY: OTHER}
    assert two.installed() == now
    assert before.read_bytes() == kept
    with pytest.raises(LabError, match="was made by uv, not to be changed by pipx"):
        one.upgrade(RELEASE, OTHER, "pipx")


def test_what_a_killed_installer_leaves_lies_beside_its_environment(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_words: list[str], *, environment: Mapping[str, str], **_: object) -> None:
        subprocess.run(
            [sys.executable, "-c", "import tempfile; tempfile.mkdtemp()"],
            env=dict(environment),
            check=True,
        )
        raise KeyboardInterrupt

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    monkeypatch.setattr(private, "run_installer", killed)
    made = PrivateEnvironment(tmp_path / "run" / "one", Path(sys.executable), "pip", wheels)
    made.directory.parent.mkdir()
    with pytest.raises(KeyboardInterrupt):
        made.upgrade(RELEASE, OTHER, "pip")
    assert len(list((tmp_path / "run" / "one.tmp").iterdir())) == 1
    assert list(elsewhere.iterdir()) == []
