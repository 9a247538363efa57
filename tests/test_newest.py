"""The newest release and pre-release: what the words stand for, and that nothing stands in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from packaging.version import Version

from palace_lab.commands.prepare import resolve_all
from palace_lab.environments import catalog, inventory, locking, newest
from palace_lab.environments.commands import envs
from palace_lab.errors import RefusedError, UsageError
from palace_lab.provision.uvtool import Uv

KNOWN = catalog.known_releases()
#: It writes down what it was asked, and answers: a lock is what was required, the index has two.
UV = """#!/bin/sh
echo "$@" >>"$ASKED"
for last; do :; done
while [ $# -gt 0 ]; do
    if [ "$1" = --output-file ]; then exec grep '^chromadb==' "$last" >"$2"; fi
    shift
done
echo "chromadb==$OLD ; python_full_version < '3.11'"
echo "chromadb==$NEW ; python_full_version >= '3.11'"
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the lab with nothing in it, and a uv that reaches no index."""
    monkeypatch.setenv("PALACE_LAB_HOME", str(tmp_path))
    program = tmp_path / "uv"
    program.write_text(UV)
    program.chmod(0o755)
    words = {"ASKED": str(tmp_path / "asked"), "OLD": "1.9.0", "NEW": "1.10.0"}
    uv = Uv(program, {**os.environ, **words})
    monkeypatch.setattr(locking, "find_uv", lambda: uv)
    monkeypatch.setattr(newest, "find_uv", lambda: uv)
    return tmp_path


def lock(word: str, found: str) -> str:
    release, path = newest.lock_newest(word, ask=lambda _word, _progress: Version(found))
    assert f"chromadb=={release}" in path.read_text(encoding="utf-8").split()
    return release


def test_a_word_nobody_asked_about_is_a_usage_error_that_says_what_to_do() -> None:
    for word in newest.WORDS:
        with pytest.raises(UsageError, match=f"`palace-lab envs lock {word}` asks"):
            catalog.resolve_release(word)


def test_a_release_without_a_lock_gets_one_outside_the_checkout(home: Path) -> None:
    assert lock("newest", "9.1.0") == "9.1.0"
    assert catalog.lock_path("9.1.0") == home / "locks" / "chroma-9.1.0.txt"
    assert catalog.resolve_release("newest") == "9.1.0"
    assert catalog.resolve_release("chroma-9.1.0") == "9.1.0"
    assert catalog.resolve_release("chroma-newest") == "9.1.0"  # the name of a tox environment
    assert catalog.known_releases() == KNOWN
    assert resolve_all(["newest", "1.5.9", "9.1.0", "0.6.3"]) == ["0.6.3", "1.5.9", "9.1.0"]


def test_a_release_that_has_a_committed_lock_keeps_to_it(home: Path) -> None:
    assert lock("newest", "1.5.9") == "1.5.9"
    assert catalog.lock_path("1.5.9") == catalog.LOCKS / "chroma-1.5.9.txt"
    assert [path.name for path in (home / "locks").iterdir()] == ["newest"]
    # Nor does a lock of that name here stand in for it.
    (home / "locks" / "chroma-1.5.9.txt").write_text("chromadb==1.5.9\n")
    assert catalog.lock_path("1.5.9").parent == catalog.LOCKS
    assert catalog.asked_releases() == ()


def test_a_pre_release_is_run_under_its_own_number() -> None:
    lock("newest", "9.1.0")
    assert lock("newest-pre", "9.2.0rc1") == "9.2.0rc1"
    assert resolve_all(["newest-pre", "newest", "1.5.9"]) == ["1.5.9", "9.1.0", "9.2.0rc1"]
    assert catalog.python_bound("9.2.0rc1") == catalog.python_bound("1.5.9")


def test_where_there_is_no_newer_pre_release_nothing_stands_in_for_it() -> None:
    lock("newest-pre", "9.2.0rc1")
    with pytest.raises(RefusedError, match=r"no pre-release of chromadb newer than 9\.2\.0") as no:
        lock("newest-pre", "9.2.0")
    assert no.value.exit_code == 7
    with pytest.raises(UsageError):
        catalog.resolve_release("newest-pre")


def test_the_index_is_asked_anew_and_the_newest_of_its_answers_counts(home: Path) -> None:
    assert newest.ask_index("newest", print) == Version("1.10.0")
    assert newest.ask_index("newest-pre", print) == Version("1.10.0")
    stable, pre = (home / "asked").read_text().splitlines()
    assert "--prerelease disallow --refresh-package chromadb" in stable
    assert "--prerelease allow --refresh-package chromadb" in pre


def test_an_index_out_of_reach_is_refused_and_what_was_noted_stays(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock("newest", "9.1.0")
    program = home / "offline"
    program.write_text("#!/bin/sh\necho 'error: the network was disabled' >&2; exit 2\n")
    program.chmod(0o755)
    monkeypatch.setattr(newest, "find_uv", lambda: Uv(program, dict(os.environ)))
    done = CliRunner().invoke(envs, ["lock", "newest"])
    assert isinstance(done.exception, RefusedError)
    assert "the network is switched off" in str(done.exception)
    assert catalog.resolve_release("newest") == "9.1.0"


@pytest.mark.parametrize("note", [b"", b"\xff\xfe", b"newest", b"../1.5.9", b"9.9.9"])
def test_a_note_that_cannot_be_one_is_a_usage_error(home: Path, note: bytes) -> None:
    (home / "locks").mkdir()
    (home / "locks" / "newest").write_bytes(note)
    with pytest.raises(UsageError):
        catalog.resolve_release("newest")


def test_the_command_prints_the_release_and_writes_no_lock_into_the_checkout(home: Path) -> None:
    before = sorted(catalog.LOCKS.iterdir())
    done = CliRunner().invoke(envs, ["lock", "newest"])
    assert done.exit_code == 0, done.output
    path = home / "locks" / "chroma-1.10.0.txt"
    assert f"newest is chromadb 1.10.0; its lock: {path}\n" in done.output
    assert sorted(catalog.LOCKS.iterdir()) == before


def test_the_list_shows_what_was_asked_for_and_prune_forgets_what_is_newest_no_more() -> None:
    lock("newest", "9.1.0")
    lock("newest", "9.2.0")
    listed = [row.release for row in inventory.list_environments()]
    assert listed == [*KNOWN, "9.1.0", "9.2.0"]
    inventory.prune()
    assert [row.release for row in inventory.list_environments()] == [*KNOWN, "9.2.0"]
    assert catalog.resolve_release("newest") == "9.2.0"
