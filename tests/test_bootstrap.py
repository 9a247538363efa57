"""The bootstrap: what it says, when it installs, and what it hands over to."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bootstrap
from palace_lab.called import VARIABLE, called
from palace_lab.errors import ExitCode, RefusedError
from palace_lab.provision import buildonce, uvtool
from palace_lab.scenario import RELEASES

SCRIPT = Path(bootstrap.__file__)


class Exec(Exception):  # noqa: N818 - stands for a call that never returns, not for an error
    """What the bootstrap wanted to become."""


def locks_held(clone: Path) -> list[int]:
    """Return the descriptors of what the bootstrap would hand over to the lab."""
    held = []
    for link in Path("/proc/self/fd").iterdir():
        # The descriptor the directory is read through is gone by now.
        with contextlib.suppress(FileNotFoundError):
            target = link.readlink()
            if target.suffix == ".lock" and target.is_relative_to(clone):
                held.append(int(link.name))
    return held


def close_locks(clone: Path) -> None:
    for descriptor in locks_held(clone):
        os.close(descriptor)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let the bootstrap work on a checkout of a few files, and only say what it would become."""
    lock = tmp_path / "lab.txt"
    lock.write_text("# a lock\npytest==1.0\nuv==0.9.1\n")
    project = tmp_path / "pyproject.toml"
    project.write_text("[project]\n")
    monkeypatch.setattr(bootstrap, "CLONE", tmp_path)
    monkeypatch.setattr(bootstrap, "PRIVATE", tmp_path / ".palace-lab")
    monkeypatch.setattr(bootstrap, "LOCK", lock)
    monkeypatch.setattr(bootstrap, "PROJECT", project)
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.chdir(tmp_path)

    def become(program: str, words: list[str]) -> None:
        assert program == words[0]
        raise Exec(words)

    monkeypatch.setattr(os, "execv", become)
    yield tmp_path
    close_locks(tmp_path)


@pytest.fixture
def installs(clone: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Replace the installation by one empty file, and list where it was done."""
    done: list[Path] = []

    def install(environment: Path, _lock: int) -> str:
        (environment / "bin").mkdir(parents=True)
        (environment / "bin" / "python").touch()
        done.append(environment.relative_to(clone))
        return "mark"

    monkeypatch.setattr(bootstrap, "install_lab", install)
    return done


def test_no_word_prints_the_help_and_installs_nothing(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bootstrap.main([]) == ExitCode.PROMISED
    assert bootstrap.main(["--help"]) == ExitCode.PROMISED
    assert "python3 lab/bootstrap.py test" in capsys.readouterr().out
    assert not (clone / ".palace-lab").exists()


def test_words_go_to_palace_lab_and_test_goes_to_pytest(clone: Path, installs: list[Path]) -> None:
    with pytest.raises(Exec) as became:
        bootstrap.main(["run", "--seed", "7"])
    environment = clone / installs[0]
    assert became.value.args[0] == [
        str(environment / "bin" / "palace-lab"),
        *("run", "--seed", "7"),
    ]
    with pytest.raises(Exec) as became:
        bootstrap.main(["test", "-q"])
    python = str(environment / "bin" / "python")
    assert became.value.args[0] == [python, "-m", "pytest", *bootstrap.TEST_WORDS, "-q"]
    with pytest.raises(Exec) as became:
        bootstrap.main(["test"])
    assert became.value.args[0][3 + len(bootstrap.TEST_WORDS) :] == [*bootstrap.RELEASE_WORDS]
    asked = bootstrap.RELEASE_WORDS[1::2]
    assert asked == (RELEASES[0], RELEASES[-1])


@pytest.mark.parametrize("word", ["run", "test"])
def test_a_line_to_paste_calls_the_lab_as_it_was_called(
    clone: Path, installs: list[Path], monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    assert called() == "palace-lab"
    monkeypatch.setattr(sys, "argv", ["my lab/bootstrap.py", word])
    other = clone / "python3"
    other.symlink_to(sys.executable)
    for path, python in ((str(clone), "python3"), ("/nowhere", sys.executable)):
        monkeypatch.setenv("PATH", path)
        with pytest.raises(Exec):
            bootstrap.main([word])
        wanted = f"{python} 'my lab/bootstrap.py'" if word == "run" else "palace-lab"
        assert called() == wanted
    assert len(installs) == 1


def test_it_installs_once_until_lock_or_project_change(clone: Path, installs: list[Path]) -> None:
    for name in ("", "", "lab.txt", "", "pyproject.toml", ""):
        if name:
            (clone / name).write_text((clone / name).read_text() + "# changed\n")
        bootstrap.prepare(["run"])
    assert len(installs) == len(set(installs)) == 3
    link = clone / ".palace-lab" / "venv"
    assert link.resolve() == (clone / installs[-1]).resolve()


def test_a_killed_installation_is_done_again(clone: Path, installs: list[Path]) -> None:
    bootstrap.prepare(["run"])
    (clone / installs[0] / buildonce.COMPLETE).unlink()
    close_locks(clone)
    bootstrap.prepare(["run"])
    assert len(installs) == 2


def test_what_it_becomes_inherits_the_lock(clone: Path, installs: list[Path]) -> None:
    bootstrap.prepare(["run"])
    assert [os.get_inheritable(descriptor) for descriptor in locks_held(clone)] == [True]
    assert not buildonce.discard(clone / installs[0], unless=lambda: False)


def test_an_interrupt_ends_with_130(
    clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def install(environment: Path, _lock: int) -> str:
        environment.mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(bootstrap, "install_lab", install)
    assert bootstrap.main(["run"]) == ExitCode.INTERRUPTED
    assert capsys.readouterr().err == "palace-lab: interrupted\n"
    assert not [path for path in (clone / ".palace-lab" / "venvs").iterdir() if path.is_dir()]


def test_a_file_in_the_place_of_its_directory_is_refused(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (clone / ".palace-lab").touch()
    assert bootstrap.main(["run"]) == ExitCode.REFUSED
    said = capsys.readouterr().err
    assert re.search(r"cannot write .*\.palace-lab.*\([\d,]+ bytes are free there\)", said)
    assert said.count("\n") == 1


def test_a_missing_lock_is_refused(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (clone / "lab.txt").unlink()
    assert bootstrap.main(["run"]) == ExitCode.REFUSED
    assert "lab.txt is missing" in capsys.readouterr().err


def test_a_python_that_is_too_new_is_refused(
    clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "PYTHON_END", (3, 10))
    assert bootstrap.main(["run"]) == ExitCode.REFUSED
    assert "the lab needs one from 3.10 to 3.13" in capsys.readouterr().err
    assert not (clone / ".palace-lab").exists()


def test_a_python_without_pip_is_told_how_to_get_it(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_pip = clone / "python"
    without_pip.write_text("#!/bin/sh\necho 'No module named pip' >&2\nexit 1\n")
    without_pip.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(without_pip))
    with pytest.raises(RefusedError, match="apt install python3-pip"):
        bootstrap.install_uv()


def test_pip_is_asked_for_the_uv_of_the_lock_only_once(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = clone / "asked"
    pip = clone / "python"
    pip.write_text(
        f'#!/bin/sh\necho "$@" >> {asked}\n'
        'while [ $# -gt 0 ]; do [ "$1" = --target ] && place=$2; shift; done\n'
        '[ -z "$place" ] || { mkdir -p "$place/bin" && touch "$place/bin/uv"; }\n'
    )
    pip.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(pip))
    uv = bootstrap.install_uv()
    assert uv == bootstrap.install_uv()
    assert uv.binary.is_file()
    version, install = asked.read_text().splitlines()
    assert version.endswith("--version")
    assert install.startswith("-m pip ")
    assert install.endswith("uv==0.9.1")


def test_the_commands_of_an_installation(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    class Recorder:
        def run(self, arguments: list[str], **_: object) -> str:
            asked.append(arguments)
            return ""

    monkeypatch.setattr(bootstrap, "install_uv", Recorder)
    environment = clone / ".palace-lab" / "venvs" / "new"
    older = environment.with_name("old")
    for directory in (environment, older):
        directory.mkdir(parents=True)
    bootstrap.install_lab(environment, 0)
    assert [words[0] for words in asked] == ["venv", "pip", "pip"]
    assert asked[1][-2:] == ["-r", str(clone / "lab.txt")]
    assert asked[2][-2:] == ["--editable", str(clone)]
    assert not older.exists()
    assert environment.exists()


def test_the_script_can_be_read_by_a_python_too_old_for_it() -> None:
    # An older Python must get as far as the check, which comes before all that it cannot run.
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 7))
    (check,) = [node for node in tree.body if isinstance(node, ast.If)][:1]
    assert "version_info" in ast.unparse(check.test)
    before = tree.body[: tree.body.index(check)]
    imported = [node for node in before if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert len(imported) == len(before) - 1
    names = {name.name for node in imported if isinstance(node, ast.Import) for name in node.names}
    assert names <= {"hashlib", "os", "platform", "re", "shlex", "shutil", "sys", "time"}


def test_the_script_runs_with_the_standard_library_alone(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-I", "-S", str(SCRIPT)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("usage: python3 lab/bootstrap.py")


def test_news_of_pip_leave_out_its_warnings(tmp_path: Path) -> None:
    talker = tmp_path / "talker"
    talker.write_text("#!/bin/sh\necho Downloading >&2\necho WARNING: noise >&2\nread x <gate\n")
    talker.chmod(0o755)
    os.mkfifo(tmp_path / "gate")
    told: list[str] = []

    def hear(sentence: str) -> None:
        told.append(sentence)
        (tmp_path / "gate").write_text("go\n")

    uvtool.run_installer(
        [str(talker)], environment={}, doing="x", into=tmp_path, seconds_max=60, progress=hear
    )
    assert told == ["x: 2 s so far (Downloading)"]
