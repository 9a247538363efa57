"""What the page about MemPalace says is what its plans show: with its real release, from PyPI."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from palace_lab.environments.beside import VARIABLE
from palace_lab.errors import ExitCode
from palace_lab.plan.text import parse_plan

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "mempalace"
PAGE = (ROOT / "docs" / "mempalace.md").read_text(encoding="utf-8")
FINDINGS = dict(re.findall(r"^\| ([a-z-]+) \| .* \| ([a-z-]+) 3/3", PAGE, re.MULTILINE))
START = "import sys; from palace_lab.cli import main; sys.argv[0] = 'palace-lab'; main()"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A place for the environment, which is removed again: it takes 400 MB."""
    path = tmp_path_factory.mktemp("home")
    yield path
    shutil.rmtree(path)


def test_the_page_has_a_row_for_every_plan_and_names_the_release_that_is_installed() -> None:
    plans = {path.stem: parse_plan(path.read_bytes(), path.name) for path in FOLDER.glob("*.json")}
    assert set(FINDINGS) == set(plans)
    assert {plan.name for plan in plans.values()} == {f"mempalace/{name}" for name in plans}
    (pinned,) = re.findall(
        r"^mempalace==(.*)$", (FOLDER / "requirements.txt").read_text(), re.MULTILINE
    )
    assert f"Seen with MemPalace {pinned} and chromadb 1.5.9" in PAGE
    assert {plan.release for plan in plans.values()} == {"1.5.9"}


@pytest.mark.slow
@pytest.mark.nightly  # what it installs is another project's
@pytest.mark.parametrize("name", sorted(FINDINGS))
def test_a_plan_shows_what_the_page_says(home: Path, tmp_path: Path, name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START, "replay", str(FOLDER / f"{name}.json")],
        cwd=tmp_path,
        env={**os.environ, VARIABLE: str(FOLDER), "PALACE_LAB_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    found = FINDINGS[name]
    said = done.stdout + done.stderr
    assert f"mempalace/{name} on 1.5.9, no arm, seed 0, 1/1: {found} in " in done.stdout, said
    assert done.returncode == (ExitCode.PROMISED if found == "held" else ExitCode.VIOLATED), said
