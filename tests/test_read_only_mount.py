"""A palace on a file system that is mounted read-only: one sentence from each, and nothing changed.

The mount is in a namespace of its own that ends with the process, so none is ever left.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from palace_lab.environments import ensure
from palace_lab.errors import ExitCode

pytestmark = pytest.mark.slow

FIXTURES = Path(__file__).parent.parent / "fixtures"
LAB = FIXTURES.parent / "lab"
CLI = "import sys; from palace_lab.cli import main; sys.argv[0] = 'palace-lab'; main()"
#: Module and class of each store, what it is asked first, and what it raises.
STORES = {
    "drawers": (
        "drawers.DrawerStore.count",
        "UnusablePalaceError: {palace} cannot be used as a palace (Read-only file system",
    ),
    "triples": (
        "triples.TripleStore.count",
        "KnowledgeError: {palace}/knowledge.sqlite3 cannot be used as a knowledge graph (",
    ),
    "memories": (
        "local.LocalStore.count",
        "MemoryFileError: {palace}/memories.sqlite3 cannot be used for memories (",
    ),
}
ASK = """\
import importlib, pathlib, sys
palace, module, store, method = pathlib.Path(sys.argv[1]), *sys.argv[2].split(".")
try:
    getattr(getattr(importlib.import_module("palace_store." + module), store)(palace), method)()
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


@pytest.fixture(scope="module")
def palace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A palace whose index has to be mended."""
    palace = tmp_path_factory.mktemp("disk") / "palace"
    shutil.copytree(FIXTURES / "chroma-1.5.9" / "palace", palace)
    for header in palace.glob("*-*/header.bin"):
        header.unlink()
    return palace


def mounted(palace: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command to which the disk of the palace is read-only."""
    unshare = shutil.which("unshare") or pytest.skip("unshare is not installed")
    disk = str(palace.parent)
    script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0"'
    before = (unshare, "-rm", "sh", "-c", f'{script} && exec "$@"', disk)
    if subprocess.run([*before, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespace of its own for a child here")
    return subprocess.run(
        [*before, *command],
        env={**os.environ, "PYTHONPATH": str(LAB)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def state(palace: Path) -> dict[Path, tuple[int, bytes]]:
    files = (path for path in palace.parent.rglob("*") if path.is_file())
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.mark.parametrize("name", STORES)
def test_a_store_says_where_and_what_it_needs(palace: Path, name: str) -> None:
    method, sentence = STORES[name]
    before = state(palace)
    done = mounted(palace, str(ensure("1.5.9").python), "-c", ASK, str(palace), method)
    assert done.stdout.startswith(sentence.format(palace=palace)), done.stdout + done.stderr
    assert "a folder that this user may write to" in done.stdout
    assert done.stdout.count("\n") == 1
    assert state(palace) == before


def test_it_is_diagnosed_and_mended_elsewhere(palace: Path, tmp_path: Path) -> None:
    before = state(palace)
    done = mounted(palace, sys.executable, "-c", CLI, "diagnose", str(palace))
    assert done.returncode == ExitCode.VIOLATED, done.stderr
    assert "index-torn" in done.stdout
    into = ("--into", str(tmp_path / "copy"))
    done = mounted(palace, sys.executable, "-c", CLI, "mend", str(palace), *into)
    assert done.returncode == ExitCode.PROMISED, done.stdout + done.stderr
    done = mounted(palace, sys.executable, "-c", CLI, "diagnose", str(tmp_path / "copy"))
    assert done.returncode == ExitCode.PROMISED, done.stdout
    assert state(palace) == before


def test_what_would_write_there_is_refused_in_one_sentence(palace: Path) -> None:
    before = state(palace)
    in_place = (str(ensure("1.5.9").python), "-m", "palace_store.mend", str(palace))
    lab = (sys.executable, "-c", CLI)
    for command, code in (
        (in_place, 1),
        ((*lab, "mend", str(palace), "--into", f"{palace}.copy"), ExitCode.USAGE),
        ((*lab, "run", "s2/kg-holder", "--report-dir", f"{palace}.runs"), ExitCode.USAGE),
        ((*lab, "soak", "--for", "1m", "--soak-dir", f"{palace}.nights"), ExitCode.USAGE),
    ):
        done = mounted(palace, *command)
        (sentence,) = [line for line in done.stderr.splitlines() if "ead-only file system" in line]
        assert done.returncode == code, sentence
        assert "Traceback" not in done.stderr
    assert state(palace) == before
