"""What trials install beside chromadb is in uv's cache once an environment was built."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import palace_store
from palace_lab.environments import ensure
from palace_lab.environments.private import build_library
from palace_lab.environments.proxy import provide_proxy
from palace_lab.errors import RefusedError
from palace_lab.runner.offline import forbid_network

pytestmark = pytest.mark.slow

RELEASE = "1.5.9"
START = "from palace_lab.cli import main; main()"


def made_without_a_network(into: Path) -> None:
    """Make what trials install, as an offline night does before its first one."""
    into.mkdir()
    build_library(palace_store.__version__, into)
    provide_proxy(ensure(RELEASE).python, into / "proxy")


def test_one_build_brings_what_an_offline_night_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure(RELEASE)  # chromadb itself, which a cache of its own would have to fetch again
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    with monkeypatch.context() as unplugged:
        unplugged.setenv("UV_OFFLINE", "1")
        with pytest.raises(RefusedError):
            made_without_a_network(tmp_path / "before")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    subprocess.run(
        [sys.executable, "-c", START, "envs", "build", RELEASE],
        check=True,
        capture_output=True,
        timeout=600,
    )
    assert list(temporary.iterdir()) == []
    monkeypatch.setenv("UV_OFFLINE", "")  # put back after the test, whatever it is set to

    forbid_network()
    made_without_a_network(tmp_path / "after")
