"""A folder of somebody's own targets, and what is installed for them beside chromadb."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from palace_lab.environments import beside, build, catalog, inventory
from palace_lab.environments.interpreters import Interpreter
from palace_lab.errors import ExitCode, UsageError
from palace_lab.provision import buildonce
from palace_lab.provision.uvtool import Uv
from palace_lab.report.summary import machine

START = "import sys; from palace_lab.cli import main; sys.argv[0] = 'palace-lab'; main()"
#: Stands in for uv: notes what it is asked for, and makes what looks like an environment.
FAKE = """#!{python}
import os, sys
from pathlib import Path
words = sys.argv[1:]
with open({log!r}, "a") as log:
    print("\\t".join(words), file=log)
if "venv" in words:
    bin = Path(words[-1], "bin")
    bin.mkdir(parents=True)
    (bin / "python").write_text("#!/bin/sh\\necho 1.5.9\\n")
    (bin / "python").chmod(0o755)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the variable names, with one target and a project beside it."""
    folder = tmp_path / "targets"
    folder.mkdir()
    (folder / "mine.py").write_text("def target(context): ...\n")
    (tmp_path / "mylib").mkdir()
    (tmp_path / "mylib" / "pyproject.toml").write_text("[project]\nname = 'mylib'\n")
    monkeypatch.setenv(beside.VARIABLE, str(folder))
    return folder


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which a stand-in for uv notes what it is asked for."""
    log, program = tmp_path / "asked", tmp_path / "uv"
    log.touch()
    program.write_text(FAKE.format(python=sys.executable, log=str(log)))
    program.chmod(0o755)
    own = Interpreter(Path(sys.executable), "3.11.7", "x86_64")
    monkeypatch.setattr(build, "find_uv", lambda: Uv(program, dict(os.environ)))
    monkeypatch.setattr(build, "find_interpreter", lambda *_, **__: own)
    return log


def require(folder: Path, *lines: str) -> None:
    (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in lines))


def digest() -> str:
    found = beside.installed_beside()
    assert found is not None
    return found.digest


def test_without_the_variable_or_without_requirements_nothing_is_installed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert beside.targets_folder() == folder
    assert beside.installed_beside() is None
    require(folder, "", "# nothing yet")
    assert beside.installed_beside() is None
    monkeypatch.delenv(beside.VARIABLE)
    assert beside.targets_folder() is None
    assert beside.installed_beside() is None


def test_lines_are_requirements_and_editable_projects(folder: Path) -> None:
    lines = ("mylib==1.2.0", "other[extra]>=2; python_version > '3'", "-e ../mylib")
    require(folder, *lines[:2], "", "--editable ../mylib[all]  # ours")
    found = beside.installed_beside()
    assert found is not None
    assert found.lines == (*lines[:2], "--editable ../mylib[all]")
    require(folder, "kept @ git+https://code.example/kept@0123abc")
    assert beside.installed_beside() is not None


def test_whatever_decides_the_content_decides_the_digest(folder: Path) -> None:
    require(folder, "-e ../mylib")
    assert machine().endswith("; installed beside chromadb: -e ../mylib")
    first = digest()
    assert digest() == first
    (folder.parent / "mylib" / "code.py").write_text("x = 1\n")
    assert digest() == first  # editable: read anew by each process
    project = folder.parent / "mylib" / "pyproject.toml"
    project.write_text(project.read_text() + "dependencies = ['more']\n")
    second = digest()
    require(folder, "-e ../mylib", "more==1")
    assert len({first, second, digest()}) == 3


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("../mylib", "is neither a requirement nor an editable project"),
        ("-r more.txt", "is neither a requirement nor an editable project"),
        ("--index-url https://code.example", "is neither a requirement nor an editable project"),
        ("mylib @ file:///mylib", "is a project on this disk whose changes would not be seen"),
        ("-e ../none", "which is no project that can be installed"),
        ("-e ", "is neither a requirement nor an editable project"),
        ("a\x00b", "is neither a requirement nor an editable project"),
    ],
)
def test_another_line_is_refused_in_one_sentence(folder: Path, line: str, why: str) -> None:
    require(folder, line)
    with pytest.raises(UsageError) as refused:
        beside.installed_beside()
    said = str(refused.value)
    assert str(folder / "requirements.txt") in said
    assert why in said
    assert said.isprintable()


def test_a_folder_that_is_not_there_and_a_name_of_the_labs_own_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "__init__.py").touch()
    assert beside.targets_folder() == folder
    (folder / "worker.py").touch()
    with pytest.raises(UsageError, match=r"worker\.py has the name of one of the lab's own"):
        beside.targets_folder()
    (folder / "worker.py").unlink()
    (folder / "requirements.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot be read as text"):
        beside.installed_beside()
    monkeypatch.setenv(beside.VARIABLE, str(folder / "none"))
    with pytest.raises(UsageError, match="none, which cannot be read: No such file"):
        beside.targets_folder()


def test_what_is_asked_for_goes_into_an_environment_of_its_own(
    folder: Path, asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    plain = build.ensure("1.5.9", home=home)
    assert "--constraint" not in asked.read_text()
    require(folder, "mylib==1.2.0")
    theirs = build.ensure("1.5.9", home=home)
    assert theirs.directory != plain.directory
    last = asked.read_text().splitlines()[-1].split("\t")
    assert last[last.index("--directory") + 1] == str(folder)
    assert last[last.index("--constraint") + 1] == str(catalog.lock_path("1.5.9"))
    assert last[last.index("-r") + 1] == str(folder / "requirements.txt")
    mark = json.loads((theirs.directory / buildonce.COMPLETE).read_text())
    assert mark["beside"] == digest()

    def built() -> list[Path | None]:
        rows = inventory.list_environments(home)
        return [row.path for row in rows if row.state == "built"]

    assert built() == [theirs.directory]
    for environment in (plain, theirs):
        build.release_hold(environment)
    assert inventory.prune(home) == 0
    require(folder, "mylib==1.3.0")
    assert built() == []
    monkeypatch.delenv(beside.VARIABLE)
    assert built() == [plain.directory]
    inventory.prune(home)
    assert plain.directory.exists()
    assert not theirs.directory.exists()


def test_a_plan_names_a_target_of_the_folder(folder: Path) -> None:
    plan = {
        "version": 1,
        "release": "1.5.9",
        "target": "mine",
        "observers": ["mine", "other"],
        "steps": [{"step": "do", "process": "one", "op": "write", "args": {"count": 3}}],
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    (folder / "other.py").write_text("x = 1\n")
    done = subprocess.run(
        [sys.executable, "-c", START, "replay", "plan.json"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == ExitCode.USAGE
    (line,) = done.stderr.splitlines()
    assert "other.py has no function `target`: name a file in the lab's folder of targets, " in line
    assert f"or in yours, {folder}," in line
