"""tox.ini, noxfile.py and the workflows say the same, and what they name is there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

from palace_lab.environments import catalog
from palace_lab.errors import ExitCode
from palace_lab.report.words import EXIT_MEANINGS

ROOT = Path(__file__).parents[1]
CI = ROOT / ".github" / "workflows" / "ci.yml"
FOR_OTHERS = ROOT / "docs" / "palace-lab.yml"
ACTIONS = sorted((ROOT / ".github" / "actions").glob("*/action.yml"))
WORKFLOWS = (CI, FOR_OTHERS, *ACTIONS)
PROGRAMS = Path(sys.executable).parent
TEXT = CI.read_text(encoding="utf-8")
SEED = "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3"
WAIT_S = 300.0


def shell(
    script: str, cwd: Path, *, timeout: float = WAIT_S, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a step as GitHub does: bash that stops at the first failure, also inside of a pipe."""
    path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["/bin/bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=cwd,
        env={**os.environ, "PATH": path, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def step(workflow: Path, beginning: str) -> str:
    """Return the script of the step that begins with a line, as bash gets it."""
    lines = workflow.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.strip() == beginning)
    run = next(number for number in range(start, len(lines)) if lines[number].strip() == "run: |")
    indent = len(lines[run + 1]) - len(lines[run + 1].lstrip())
    script = []
    for line in lines[run + 1 :]:
        if line.strip() and not line.startswith(" " * indent):
            break
        script.append(line[indent:])
    return "\n".join(script)


def jobs() -> dict[str, str]:
    """Return the text of each job of the workflow."""
    _, *parts = re.split(r"^  ([\w-]+):\n", TEXT.partition("\njobs:\n")[2], flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def tox_names(prefix: str) -> list[str]:
    done = subprocess.run(
        [str(PROGRAMS / "tox"), "list", "--no-desc", "-qq"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=WAIT_S,
    )
    return [name for name in done.stdout.split() if name.startswith(prefix)]


def test_tox_has_an_environment_for_each_lock_and_for_the_two_newest() -> None:
    wanted = [*catalog.known_releases(), catalog.NEWEST, catalog.NEWEST_PRE]
    assert tox_names("chroma-") == [f"chroma-{release}" for release in wanted]


def test_the_matrix_is_the_list_of_tox(tmp_path: Path) -> None:
    output = tmp_path / "output"
    done = shell(step(CI, "- id: tox"), ROOT, GITHUB_OUTPUT=str(output))
    assert done.returncode == 0, done.stderr
    name, _, value = output.read_text(encoding="utf-8").strip().partition("=")
    assert json.loads(value) == tox_names("chroma-")
    assert f"releases: ${{{{ steps.tox.outputs.{name} }}}}" in TEXT
    assert "environment: ${{ fromJSON(needs.list.outputs.releases) }}" in jobs()["releases"]


def test_a_matrix_of_nothing_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "tox").write_text("#!/bin/sh\necho lint\n")
    (tmp_path / "tox").chmod(0o755)
    script = f'PATH="{tmp_path}:$PATH"\n' + step(CI, "- id: tox")
    done = shell(script, ROOT, GITHUB_OUTPUT=str(tmp_path / "output"))
    assert done.returncode != 0


def test_the_hops_are_those_of_tox_each_after_the_one_before() -> None:
    parser = ConfigParser(interpolation=None)
    parser.read(ROOT / "tox.ini", encoding="utf-8")
    (section,) = (name for name in parser.sections() if name.startswith("testenv:hop-"))
    depends = dict(line.split(": hop-") for line in parser[section]["depends"].split("\n") if line)
    releases = [name.removeprefix("hop-") for name in tox_names("hop-")]
    assert depends == dict(zip(releases[1:], releases, strict=False))
    hops = {name: text for name, text in jobs().items() if name.startswith("hop-")}
    assert list(hops) == [f"hop-{release.replace('.', '_')}" for release in releases]
    for release in releases:
        text = hops[f"hop-{release.replace('.', '_')}"]
        assert f'release: "{release}"' in text
        before = depends.get(release)
        assert re.findall(r'after: "(.*)"', text) == ([before] if before else [])
        needs = [f"hop-{before.replace('.', '_')}"] if before else []
        assert re.findall(r"needs: (.*)", text) == needs


@pytest.mark.parametrize(
    ("environment", "code", "left"),
    [
        ("chroma-newest", ExitCode.GONE, 0),
        ("chroma-newest-pre", ExitCode.GONE, 0),
        ("chroma-1.5.9", ExitCode.GONE, 8),
        ("chroma-newest", ExitCode.REFUSED, 7),
        ("chroma-newest-pre", ExitCode.REFUSED, 7),
        ("chroma-newest", ExitCode.VIOLATED, 1),
        ("chroma-newest", ExitCode.VACUOUS, 6),
        ("chroma-1.5.9", ExitCode.PROMISED, 0),
    ],
)
def test_gone_is_a_warning_for_the_two_newest_and_nothing_else_is(
    tmp_path: Path, environment: str, code: int, left: int
) -> None:
    tox = tmp_path / "tox"
    tox.write_text(
        f'#!/bin/sh\n[ "$*" = "run -e {environment} -- -n 2" ] || exit 99\nexit {code}\n'
    )
    tox.chmod(0o755)
    script = f'PATH="{tmp_path}:$PATH"\n' + step(CI, "- name: the scenarios")
    done = shell(script, tmp_path, ENVIRONMENT=environment)
    assert done.returncode == left
    assert ("::warning" in done.stdout) == (code == ExitCode.GONE and left == 0)


def test_the_summary_has_the_table_or_says_that_there_is_none(tmp_path: Path) -> None:
    script = step(CI, "- name: the table, for the job's summary")
    summary = tmp_path / "summary"
    said = {"GITHUB_STEP_SUMMARY": str(summary), "ENVIRONMENT": "chroma-newest"}
    assert shell(script, tmp_path, **said).returncode == 0
    assert summary.read_text() == "chroma-newest: no scenario was run; the log says why\n"
    (tmp_path / "reports" / "latest").mkdir(parents=True)
    (tmp_path / "reports" / "latest" / "summary.md").write_text("# The table\n")
    assert shell(script, tmp_path, **said).returncode == 0
    assert summary.read_text().endswith("# The table\n")


def test_the_seed_is_the_commit() -> None:
    assert "PALACE_LAB_SEED: ${{ github.sha }}" in TEXT
    (setting,) = re.findall(r"PYTEST_ADDOPTS=(.*)\" >>", ACTIONS[1].read_text(encoding="utf-8"))
    done = shell(f'echo "{setting}"', ROOT, GITHUB_SHA=SEED)
    assert done.stdout == f"--randomly-seed={int(SEED[:8], 16)}\n"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.parent.name + "/" + path.name)
def test_actions_are_pinned_to_a_major_version_and_what_is_ours_is_there(path: Path) -> None:
    used = re.findall(r"uses: (\S+)", path.read_text(encoding="utf-8"))
    assert used
    for each in used:
        if each.startswith("./"):
            assert (ROOT / each / "action.yml").is_file(), each
        else:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", each), each


@pytest.mark.parametrize("path", [CI, FOR_OTHERS], ids=lambda path: path.name)
def test_a_job_may_read_and_has_an_end(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"^( *)permissions:\n +(.*)$", text, re.MULTILINE) == [("", "contents: read")]
    assert text.count("runs-on:") == text.count("timeout-minutes:")
    assert text.count("actions/checkout@") == text.count("persist-credentials: false")


def test_every_session_that_a_job_runs_is_one_of_nox() -> None:
    sessions = set(re.findall(r"^@nox\.session\ndef (\w+)", read("noxfile.py"), re.MULTILINE))
    wanted = {"lint", "types", "tests", "scenarios", "hops", "bench", "trust", "nightly"}
    assert sessions == wanted
    named = [words.split(" --")[0].split() for words in re.findall(r"nox -s ([a-z].*)", TEXT)]
    listed = re.findall(r"^ {10}- (\w+)(?: -- .*)?$", jobs()["nightly"], re.MULTILINE)
    assert listed
    assert {*listed, *(name for names in named for name in names)} <= sessions


def test_actionlint_finds_nothing() -> None:
    program = shutil.which("actionlint")
    if program is None:
        pytest.skip("actionlint is not on PATH; `nox -s lint` installs and runs it")
    found = subprocess.run(
        [program, "-no-color", str(CI), str(FOR_OTHERS)],
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    assert (found.returncode, found.stdout) == (0, ""), found.stdout + found.stderr
    listed = re.findall(r"WORKFLOWS = \((.*)\)", read("noxfile.py"))
    assert listed == [
        ", ".join(f'"{each.relative_to(ROOT).as_posix()}"' for each in (CI, FOR_OTHERS))
    ]


def test_the_page_says_what_each_exit_code_asks_for() -> None:
    rows = re.findall(r"^\| (\d+) \|", read("docs/ci.md"), re.MULTILINE)
    assert [int(code) for code in rows] == [int(code) for code in EXIT_MEANINGS if code]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# The workflow for another project ----------------------------------------------------------------

LIBRARY = """
import json, os
from pathlib import Path


class Notes:
    def __init__(self, directory, *, late):
        self.file, self.late = Path(directory) / "notes.json", late
        self.notes = json.loads(self.file.read_text()) if self.file.exists() else {}

    def save(self):
        if self.late and len(self.notes) % 10:
            return
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps(self.notes))
        os.replace(fresh, self.file)
"""
PROJECT = """
[project]
name = "notes"
version = "1.0"
dependencies = ["numpy"]
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
"""
TARGET = '''
"""Notes of a library that is nobody's."""
import numpy as np
from notes import Notes

from palace_lab.targets.drawers import DrawersTarget


class NotesTarget(DrawersTarget):
    def open(self):
        late = self.context.options.get("wrong") == "late"
        self.kept = Notes(self.context.palace, late=late)

    def put(self, how, ids, vectors, texts):
        self.kept.notes.update({i: [v, t] for i, v, t in zip(ids, vectors, texts)})
        self.kept.save()

    def remove(self, ids):
        for each in ids:
            self.kept.notes.pop(each, None)
        self.kept.save()

    def stored_ids(self):
        return list(self.kept.notes)

    def texts(self):
        return {i: text for i, (_, text) in self.kept.notes.items()}

    def nearest(self, vectors, n):
        ids = list(self.kept.notes)
        rows = np.array([self.kept.notes[i][0] for i in ids])
        return [[ids[k] for k in np.argsort(((rows - v) ** 2).sum(1))[:n]] for v in vectors]

    def answers(self, vectors, n):
        return [min(n, len(self.kept.notes)) for _ in vectors]

    def count(self):
        return len(self.kept.notes)


def target(context):
    return NotesTarget(context)
'''
OF_THEIRS = '''
"""A writer that is killed leaves every note it has acknowledged."""
from palace_lab.plan import Plan
from palace_lab.plan.steps import Kill, write
from palace_lab.scenario import Scenario, Wrong

scenario = Scenario(
    system="s1",
    plan=Plan(
        target="notes",
        observers=("notes",),
        steps=(write("writer", 45, batch=5), Kill("writer")),
    ),
    wrong=Wrong("only every second batch is saved", options={"wrong": "late"}),
    accepts={"*": "silent-row-loss"},
)
'''


PLACES = re.findall(
    r"^  (PALACE_LAB_\w+): \$\{\{ github.workspace \}\}/(.*)$",
    FOR_OTHERS.read_text(encoding="utf-8"),
    re.MULTILINE,
)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """Another project, of which the lab knows nothing but what the workflow says."""
    files = {
        "pyproject.toml": PROJECT,
        "src/notes/__init__.py": LIBRARY,
        "palace-lab/targets/notes.py": TARGET,
        "palace-lab/targets/requirements.txt": "-e ../..  # the library itself\n",
        "palace-lab/scenarios/s1_notes/killed.py": OF_THEIRS,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    yield tmp_path
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)  # an environment of 400 MB


def of_theirs(project: Path, beginning: str) -> subprocess.CompletedProcess[str]:
    """Run a step in that project, with the lab that is beside it."""
    return shell(
        step(FOR_OTHERS, beginning),
        project,
        **{name: str(project / place) for name, place in PLACES},
        PALACE_LAB_HOME=str(project / "cache"),
        RELEASE="1.5.9",
        GITHUB_ACTIONS="true",
        GITHUB_WORKSPACE=str(project),
    )


@pytest.mark.slow
def test_another_project_breaks_its_own_library(project: Path) -> None:
    done = of_theirs(project, "- name: your scenarios")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "guard: caught 5/5 silent-row-loss" in done.stdout
    assert "HELD 0/5" in done.stdout
    # What its code is now counts, in the environment that was made for it.
    library = project / "src" / "notes" / "__init__.py"
    library.write_text(LIBRARY.replace("if self.late and", "if"))
    done = of_theirs(project, "- name: your scenarios")
    assert done.returncode == ExitCode.VIOLATED
    assert "VIOLATED 5/5 silent-row-loss" in done.stdout
    assert "building an environment" not in done.stderr
    library.write_text(LIBRARY)
    # And is told where, if a promise of it is broken.
    scenario = project / "palace-lab" / "scenarios" / "s1_notes" / "killed.py"
    scenario.write_text(OF_THEIRS.replace("Kill", "Close").replace("45", "40"))
    done = of_theirs(project, "- name: your scenarios")
    assert done.returncode == ExitCode.VACUOUS
    at = "file=palace-lab/scenarios/s1_notes/killed.py,line=7,title=s1/killed 1.5.9 guard"
    assert f"\n::error {at}::guard: VACUOUS" in done.stdout


def test_a_project_that_has_nothing_to_run_is_not_green(project: Path) -> None:
    shutil.rmtree(project / "palace-lab" / "scenarios")
    done = of_theirs(project, "- name: your scenarios")
    assert done.returncode == 1
    assert "nothing was shown" in done.stdout
