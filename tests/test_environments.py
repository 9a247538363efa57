"""Environments: locks, names, interpreters, building once, listing and pruning."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from palace_lab.environments import build, catalog, commands, interpreters, inventory
from palace_lab.environments.commands import envs
from palace_lab.errors import RefusedError, UsageError
from palace_lab.provision import buildonce
from palace_lab.provision.uvtool import Uv, silent

LOCK_FILES = sorted(catalog.LOCKS.glob("*.txt"))
ROOT = Path(__file__).parents[1]
WAIT_SECONDS_MAX = 60.0

# Stands for uv: makes the files uv would make, and waits for a word where a test asks it to.
FAKE_UV = """\
#!{python} -I
import os, pathlib, sys
place = pathlib.Path({place!r})
words = sys.argv[1:]
with open(place / "calls", "a") as calls:
    calls.write(" ".join(words) + "\\n")
if "venv" in words:
    target = pathlib.Path(words[-1])
    (target / "bin").mkdir(parents=True)
    answer = (place / "answer").read_text()
    python = target / "bin" / "python"
    python.write_text("#!/bin/sh\\necho " + answer + "\\n")
    python.chmod(0o755)
else:
    if (place / "gate").exists():
        with open(place / "gate") as gate:
            gate.read()
    if (place / "complaint").exists():
        sys.exit((place / "complaint").read_text())
"""


class FakeUv:
    """A uv of our own, with the calls it got."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir()
        self.uv = Uv(place / "uv", dict(os.environ))
        self.uv.binary.write_text(FAKE_UV.format(python=sys.executable, place=str(place)))
        self.uv.binary.chmod(0o755)
        self.answer("1.5.9")

    def answer(self, text: str) -> None:
        (self.place / "answer").write_text(text)

    def complain(self, text: str) -> None:
        (self.place / "complaint").write_text(text)

    def installs(self) -> int:
        calls = self.place / "calls"
        return calls.read_text().count("pip install") if calls.exists() else 0


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeUv:
    fake_uv = FakeUv(tmp_path / "fake")
    monkeypatch.setattr(build, "find_uv", lambda: fake_uv.uv)
    own = interpreters.Interpreter(Path(sys.executable), "3.11.7", "x86_64")
    monkeypatch.setattr(build, "find_interpreter", lambda *_, **__: own)
    return fake_uv


@pytest.fixture(autouse=True)
def _no_holds() -> Iterator[None]:
    yield
    for descriptor in build._held.values():
        if descriptor is not None:
            os.close(descriptor)
    build._held.clear()


# Building once, with a uv of our own


def test_an_environment_is_built_once_and_says_what_it_is(fake: FakeUv, tmp_path: Path) -> None:
    told: list[str] = []
    first = build.ensure("1.5.9", home=tmp_path, progress=told.append)
    assert first.name == f"chroma-1.5.9-py3.11-{first.key}"
    assert first.directory == tmp_path / "environments" / first.name
    assert first.python.exists()
    assert any("building" in sentence for sentence in told)
    build.release_hold(first)
    assert build.ensure("1.5.9", home=tmp_path, progress=told.append) == first
    assert fake.installs() == 1


CUTS = st.tuples(st.integers(0, 6), st.integers(0, 6)).map(sorted)


@given(st.text("0123456789.x", min_size=6, max_size=6), CUTS, CUTS)
def test_the_key_tells_its_inputs_apart(text: str, one: list[int], other: list[int]) -> None:
    # The same characters, divided differently between lock, version and machine.
    divided = [(text[:a].encode(), text[a:b], text[b:]) for a, b in (one, other)]
    keys = {build.environment_key(*inputs) for inputs in divided}
    assert len(keys) == len(set(divided))


def test_what_a_killed_build_left_is_built_again(fake: FakeUv, tmp_path: Path) -> None:
    environment = build.ensure("1.5.9", home=tmp_path)
    build.release_hold(environment)
    (environment.directory / buildonce.COMPLETE).unlink()
    leftover = environment.directory / "half a package"
    leftover.touch()
    build.ensure("1.5.9", home=tmp_path)
    assert fake.installs() == 2
    assert not leftover.exists()


def test_an_environment_whose_python_was_uninstalled_is_built_again(
    fake: FakeUv, tmp_path: Path
) -> None:
    environment = build.ensure("1.5.9", home=tmp_path)
    build.release_hold(environment)
    environment.python.unlink()
    environment.python.symlink_to(tmp_path / "gone")
    assert build.ensure("1.5.9", home=tmp_path).python.exists()
    assert fake.installs() == 2


@pytest.mark.parametrize(
    ("complaint", "sentence"),
    [
        ("error: Failed\n  cause: No space left on device (os error 28)", "the disk is full"),
        ("error: Failed\n  cause: Permission denied (os error 13)", "Permission denied"),
        (
            "error: No solution\n  cause: Because chroma-hnswlib==0.7.6 has no usable wheels and",
            "chroma-hnswlib==0.7.6 has no wheel",
        ),
        (
            "error: Request failed\n  cause: dns error",
            "the server to download from cannot be reached",
        ),
        ("error: something else\n  cause: its cause", "something else; its cause"),
    ],
)
def test_a_failed_install_is_one_sentence_and_leaves_nothing(
    fake: FakeUv, tmp_path: Path, complaint: str, sentence: str
) -> None:
    fake.complain(complaint)
    with pytest.raises(RefusedError) as raised:
        build.ensure("1.5.9", home=tmp_path)
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not [path for path in (tmp_path / "environments").iterdir() if path.is_dir()]


@pytest.mark.parametrize("answer", ["1.5.8", "nothing of use", ""])
def test_an_install_that_answers_with_another_version_is_refused(
    fake: FakeUv, tmp_path: Path, answer: str
) -> None:
    fake.answer(answer)
    with pytest.raises(RefusedError, match="does not answer with its version"):
        build.ensure("1.5.9", home=tmp_path)
    assert not list((tmp_path / "environments").glob("*/bin"))


def test_a_file_in_the_place_of_the_directory_is_refused(fake: FakeUv, tmp_path: Path) -> None:
    in_the_way = tmp_path / "home"
    in_the_way.touch()
    with pytest.raises(RefusedError) as raised:
        build.ensure("1.5.9", home=in_the_way)
    assert str(in_the_way / "environments") in str(raised.value)
    assert re.search(r"\([\d,]+ bytes are free there\)", str(raised.value))
    assert fake.installs() == 0


BUILDER = """\
import sys
from pathlib import Path
from palace_lab.environments import build, interpreters
from palace_lab.provision.uvtool import Uv
import os
build.find_uv = lambda: Uv(Path(sys.argv[1]), dict(os.environ))
own = interpreters.Interpreter(Path(sys.executable), "3.11.7", "x86_64")
build.find_interpreter = lambda *_, **__: own
build.ensure("1.5.9", home=Path(sys.argv[2]), progress=lambda s: print(s, flush=True))
print("ended", flush=True)
"""


def start_builder(fake: FakeUv, home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(fake.uv.binary), str(home)],
        stdout=subprocess.PIPE,
        text=True,
    )


def await_line(builder: subprocess.Popen[str], part: str) -> str:
    assert builder.stdout is not None
    watchdog = threading.Timer(WAIT_SECONDS_MAX, builder.kill)
    watchdog.start()
    try:
        for line in builder.stdout:
            if part in line:
                return line
    finally:
        watchdog.cancel()
    pytest.fail(f"the builder ended without saying {part!r}")


def test_two_runs_at_once_build_once(fake: FakeUv, tmp_path: Path) -> None:
    os.mkfifo(fake.place / "gate")
    with start_builder(fake, tmp_path) as first:
        await_line(first, "building")
        with start_builder(fake, tmp_path) as second:
            assert f"waiting for process {first.pid}" in await_line(second, "waiting")
            (fake.place / "gate").write_text("go")
            await_line(second, "ended")
        await_line(first, "ended")
    assert fake.installs() == 1


def test_after_a_killed_run_its_uv_is_waited_for(fake: FakeUv, tmp_path: Path) -> None:
    gate = fake.place / "gate"
    os.mkfifo(gate)
    with start_builder(fake, tmp_path) as first:
        await_line(first, "building")
        # Opening the gate to write returns once the fake uv has opened it to read.
        with gate.open("w") as opened:
            first.kill()
            first.wait(WAIT_SECONDS_MAX)
            with start_builder(fake, tmp_path) as second:
                await_line(second, "waiting")
                gate.unlink()
                opened.close()
                await_line(second, "ended")
    assert fake.installs() == 2


def test_an_interrupted_build_ends_uv_and_leaves_nothing(fake: FakeUv, tmp_path: Path) -> None:
    gate = fake.place / "gate"
    os.mkfifo(gate)

    def interrupt(_sentence: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fake.uv.run(
            ["pip", "install"],
            doing="installing",
            into=tmp_path,
            seconds_max=WAIT_SECONDS_MAX,
            progress=interrupt,
        )
    with pytest.raises(OSError, match=os.strerror(errno.ENXIO)):
        os.open(gate, os.O_WRONLY | os.O_NONBLOCK)


def test_uv_that_does_not_end_is_stopped(fake: FakeUv, tmp_path: Path) -> None:
    os.mkfifo(fake.place / "gate")
    with pytest.raises(RefusedError, match=r"not done after 0 s and was stopped"):
        fake.uv.run(["pip", "install"], doing="x", into=tmp_path, seconds_max=0.2, progress=silent)


# Listing and pruning


def test_the_list_shows_every_release_and_what_is_built(fake: FakeUv, tmp_path: Path) -> None:
    rows = inventory.list_environments(tmp_path)
    assert [row.release for row in rows] == list(catalog.known_releases())
    assert {row.state for row in rows} == {"not built"}
    environment = build.ensure("1.5.9", home=tmp_path)
    (built,) = [row for row in inventory.list_environments(tmp_path) if row.state == "built"]
    assert (built.release, built.python) == ("1.5.9", "3.11.7")
    assert built.path == environment.directory
    assert built.disk_bytes > 0
    assert fake.installs() == 1


def make_outdated(environment: build.Environment) -> Path:
    outdated = environment.directory.with_name("chroma-1.5.9-py3.11-000000000000")
    environment.directory.rename(outdated)
    return outdated


def test_prune_removes_the_outdated_and_the_incomplete_only(fake: FakeUv, tmp_path: Path) -> None:
    outdated = make_outdated(build.ensure("1.5.9", home=tmp_path))
    kept = build.ensure("1.5.9", home=tmp_path)
    fake.answer("1.5.7")
    incomplete = build.ensure("1.5.7", home=tmp_path)
    (incomplete.directory / buildonce.COMPLETE).unlink()
    build.release_hold(incomplete)
    states = {row.path: row.state for row in inventory.list_environments(tmp_path) if row.path}
    assert states == {
        outdated: "outdated",
        kept.directory: "built",
        incomplete.directory: "incomplete",
    }
    assert inventory.prune(tmp_path) > 0
    left = {path for path in (tmp_path / "environments").iterdir() if path.is_dir()}
    assert left == {kept.directory}


@pytest.mark.usefixtures("fake")
def test_prune_keeps_what_is_in_use(tmp_path: Path) -> None:
    environment = build.ensure("1.5.9", home=tmp_path)
    # It became outdated while it is in use: its lock was made again meanwhile.
    facts_file = environment.directory / buildonce.COMPLETE
    facts = json.loads(facts_file.read_text())
    facts_file.write_text(json.dumps({**facts, "python_version": "3.11.1"}))
    told: list[str] = []
    assert inventory.prune(tmp_path, told.append) == 0
    assert environment.python.exists()
    assert "in use" in told[0]
    build.release_hold(environment)
    assert inventory.prune(tmp_path) > 0
    assert not environment.directory.exists()


@pytest.mark.parametrize("mark", ["", "[]", "{}", '{"release": "9.9.9", "python_version": "3"}'])
@pytest.mark.usefixtures("fake")
def test_a_strange_mark_is_never_taken_for_built(tmp_path: Path, mark: str) -> None:
    environment = build.ensure("1.5.9", home=tmp_path)
    (environment.directory / buildonce.COMPLETE).write_text(mark)
    states = {row.state for row in inventory.list_environments(tmp_path) if row.path}
    assert states <= {"incomplete", "outdated"}
    assert states


# Commands


def test_list_prints_plain_lines_without_a_terminal(
    fake: FakeUv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PALACE_LAB_HOME", str(tmp_path))
    environment = build.ensure("1.5.9")
    result = CliRunner().invoke(envs, ["list"])
    assert result.exit_code == 0
    assert str(environment.directory) in result.output
    assert "\x1b" not in result.output
    assert len(result.output.splitlines()) == 1 + len(catalog.known_releases())
    assert fake.installs() == 1


def test_build_prints_where_it_is_and_prune_what_it_freed(
    fake: FakeUv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PALACE_LAB_HOME", str(tmp_path))
    fetched: list[Path] = []  # what they are is tested with the real uv, in tests/test_supplies.py
    monkeypatch.setattr(commands, "fetch_supplies", lambda base, _: fetched.append(base))
    assert CliRunner().invoke(envs, ["build", "--offline", "1.5.9"]).exit_code == 0
    assert fetched == []
    shutil.rmtree(tmp_path / "environments")
    result = CliRunner().invoke(envs, ["build", "1.5.9"])
    assert result.exit_code == 0
    assert [base.name for base in fetched] == ["python"]
    assert str(tmp_path / "environments" / "chroma-1.5.9-py3.11-") in result.stdout
    assert "building" in result.stderr
    assert "0 MB freed" in CliRunner().invoke(envs, ["prune"]).stdout
    assert fake.installs() == 2


def test_build_of_an_unknown_release_builds_nothing(fake: FakeUv) -> None:
    result = CliRunner().invoke(envs, ["build", "1.5.9", "1.5.3"])
    assert isinstance(result.exception, UsageError)
    assert fake.installs() == 0


# With the real uv


@pytest.fixture(scope="module")
def real_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    yield home
    # pytest keeps the directories of three runs, and these are large.
    shutil.rmtree(home)


@pytest.mark.slow
@pytest.mark.parametrize("release", [pytest.param("0.6.3", marks=pytest.mark.nightly), "1.5.9"])
def test_a_real_environment_stores_and_finds_a_drawer(
    release: str, real_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with monkeypatch.context() as patched:
        patched.setenv("TMPDIR", str(temporary))
        environment = build.ensure(release, home=real_home)
    assert list(temporary.iterdir()) == []
    program = (
        "import chromadb, sys; from chromadb.config import Settings\n"
        "client = chromadb.PersistentClient(sys.argv[1], Settings(anonymized_telemetry=False))\n"
        "drawers = client.create_collection('drawers', embedding_function=None)\n"
        "drawers.add(ids=['a', 'b'], embeddings=[[0.0, 1.0], [1.0, 0.0]])\n"
        "print(drawers.query(query_embeddings=[[0.9, 0.1]], n_results=1)['ids'])"
    )
    result = subprocess.run(
        [str(environment.python), "-I", "-c", program, str(tmp_path / "palace")],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert result.stdout.splitlines()[-1] == "[['b']]"
    installed = subprocess.run(
        [str(interpreters.find_uv().binary), "pip", "freeze", "--python", str(environment.python)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.split()
    lock = catalog.lock_path(release).read_text(encoding="utf-8").splitlines()
    assert set(installed) <= {line.partition(" ;")[0] for line in lock}
    assert f"chromadb=={release}" in installed


@pytest.mark.slow
def test_a_full_disk_is_refused_in_one_sentence(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None or os.geteuid() != 0:
        pytest.skip("a small disk needs root and the mount program")
    made = [mount, "-t", "tmpfs", "-o", "size=20m", "none", str(small)]
    mounting = subprocess.run(made, capture_output=True, text=True, timeout=30, check=False)
    if mounting.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounting.stderr.strip()}")
    try:
        with pytest.raises(RefusedError) as raised:
            build.ensure("1.5.9", home=small)
        left = [path for path in (small / "environments").iterdir() if path.is_dir()]
    finally:
        subprocess.run([umount, str(small)], check=True, timeout=30)
    assert "the disk is full" in str(raised.value)
    assert str(small / "environments") in str(raised.value)
    assert "bytes are free" in str(raised.value)
    assert left == []
