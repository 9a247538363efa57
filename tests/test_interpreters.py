"""Interpreters: the lab's own first, hidden ones too, and a sentence when there is none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from palace_lab.environments import interpreters
from palace_lab.errors import RefusedError
from palace_lab.provision.uvtool import Uv, silent


@pytest.mark.parametrize(
    ("bound", "newest"), [(">=3.10,<3.13", "3.12"), (">=3.10,<3.14", "3.13"), ("==3.11.*", "3.11")]
)
def test_the_newest_minor_of_a_bound(bound: str, newest: str) -> None:
    assert interpreters.newest_minor(bound) == newest


def test_the_own_interpreter_is_taken_where_it_fits() -> None:
    own = interpreters.own_interpreter()
    assert own is not None
    found = interpreters.find_interpreter(f"=={own.version}", wanted_by="a test", progress=silent)
    assert found == own


def test_an_interpreter_hidden_by_shims_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = interpreters.own_interpreter()
    assert own is not None
    base = Path(sys.base_prefix) / "bin" / f"python{own.minor}"
    directory = tmp_path / "pyenv" / "versions" / own.version / "bin"
    directory.mkdir(parents=True)
    (directory / f"python{own.minor}").symlink_to(base)
    shims = tmp_path / "pyenv" / "shims"
    shims.mkdir()
    broken = shims / f"python{own.minor}"
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("PATH", str(shims))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "none"))
    found = interpreters.find_installed(interpreters.find_uv(), f"=={own.version}")
    assert found is not None
    assert (found.version, found.path.parent) == (own.version, directory)


def test_no_interpreter_offline_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interpreters, "own_interpreter", lambda: None)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path))
    with pytest.raises(RefusedError) as raised:
        interpreters.find_interpreter(
            ">=3.10,<3.13", wanted_by="chromadb 0.6.3", progress=silent, offline=True
        )
    for part in ("chromadb 0.6.3", ">=3.10,<3.13", "install a Python 3.12"):
        assert part in str(raised.value)


def test_a_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = tmp_path / "uv"
    failing.write_text("#!/bin/sh\necho 'error: dns error' >&2\nexit 2\n")
    failing.chmod(0o755)
    monkeypatch.setattr(interpreters, "own_interpreter", lambda: None)
    monkeypatch.setattr(interpreters, "find_uv", lambda: Uv(failing, {}))
    told: list[str] = []
    with pytest.raises(RefusedError, match=r"chromadb 0\.6\.3 needs Python >=3\.10,<3\.13"):
        interpreters.find_interpreter(
            ">=3.10,<3.13", wanted_by="chromadb 0.6.3", progress=told.append
        )
    assert any("downloading 3.12" in sentence for sentence in told)
