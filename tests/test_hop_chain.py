"""A palace handed on from stop to stop: what is handed on, and what is not taken over."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from palace_lab.environments import catalog, ensure, known_releases
from palace_lab.environments.own import own_environment
from palace_lab.errors import RefusedError, UsageError
from palace_lab.runner.arena import Arena
from palace_lab.runner.chain import Chain
from palace_store.fixes import Fixes
from palace_store.state import read_state

OLD, NEW = "0.6.3", "1.5.9"
ALL = tuple(Fixes.all().words())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain of two stops that held."""
    directory = tmp_path_factory.mktemp("chain") / "hops"
    with Arena([ensure(OLD), ensure(NEW)], scratch_root=None) as arena:
        for release, before in ((OLD, ""), (NEW, OLD)):
            chain = Chain.open(directory, before) if before else Chain.begin(directory, 7)
            trial = chain.stop(arena, release, before, ALL)
            assert trial.violations == []
            assert not trial.lab_error
            assert trial.reached
    return directory


@pytest.fixture
def chain(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoilt."""
    return Path(shutil.copytree(made, tmp_path / "hops"))


# What is handed on -------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_stop_hands_on_what_its_dead_writer_left_and_what_all_were_told(made: Path) -> None:
    opened = Chain.open(made, NEW)
    first, _ = opened.taken_over(OLD)
    second, given = opened.taken_over(NEW)
    assert (first.number, first.before, second.number, second.before) == (1, "", 2, OLD)
    assert {event.process for event in given.events if event.phase == "ok"} == {
        f"writer-{OLD}",
        f"writer-{NEW}",
    }
    acknowledged = sum(event.count for event in given.events if (event.phase, event.op) == OK_ADD)
    assert first.drawers < second.drawers
    assert 80 < acknowledged < second.drawers
    died = [event for event in given.events if event.op == "died"]
    assert len(died) == 2
    # Nobody has mended it yet: that is for the next one.
    assert read_state(made / NEW / "palace").open_flush == ("drawers",)
    assert read_state(made / OLD / "palace").chromadb == OLD
    assert read_state(made / NEW / "palace").chromadb == NEW


OK_ADD = ("ok", "add")


@pytest.mark.slow
def test_a_stop_that_does_not_hold_leaves_no_link(chain: Path) -> None:
    assert (chain / NEW).is_dir()
    with Arena([ensure(NEW)], scratch_root=None) as arena:
        trial = Chain.open(chain, OLD).stop(arena, NEW, OLD, ())
    assert trial.signature == "index-unreadable"
    assert trial.violations[0].sentence.startswith(f"after step 0, looked at by {NEW}: ")
    assert sorted(path.name for path in chain.iterdir()) == [OLD, "chain.json"]


# What is not taken over --------------------------------------------------------------------------


def rewrite(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def append(path: Path) -> None:
    with path.open("ab") as out:
        out.write(b"x")


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "no_chain": (lambda at: (at / "chain.json").unlink(), "there is no chain of hops in"),
    "no_stop": (lambda at: shutil.rmtree(at / OLD), f"chromadb {OLD} has handed nothing on"),
    "no_link": (lambda at: (at / OLD / "link.json").unlink(), "has handed nothing on"),
    "link_torn": (lambda at: (at / OLD / "link.json").write_text("{"), "cannot be read"),
    "other_chain": (lambda at: rewrite(at / OLD / "link.json", chain="0"), "another chain"),
    "other_stop": (lambda at: rewrite(at / OLD / "link.json", release="1.0.21"), "another chain"),
    "palace": (lambda at: append(at / OLD / "palace" / "chroma.sqlite3"), "chroma.sqlite3 differs"),
    "file_more": (lambda at: append(at / OLD / "palace" / "more"), "more differs"),
    "file_less": (lambda at: (at / OLD / "palace" / ".palace" / "state.json").unlink(), "differs"),
    "ledger": (lambda at: append(at / OLD / "ledger.jsonl"), "is not the ledger"),
    "no_ledger": (lambda at: (at / OLD / "ledger.jsonl").unlink(), "is not the ledger"),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", SPOILT)
def test_what_is_not_what_was_handed_on_is_refused(chain: Path, how: str) -> None:
    Chain.open(chain, OLD).taken_over(OLD)
    spoil, said = SPOILT[how]
    spoil(chain)
    with pytest.raises(UsageError) as caught:
        Chain.open(chain, OLD).taken_over(OLD)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


SENSELESS = {
    "after one that is not in the chain": (NEW, "1.0.21", "chromadb 1.0.21 has handed nothing on"),
    "after itself": (NEW, NEW, f"chromadb {NEW} cannot be the stop after chromadb {NEW}: it is"),
    "after one that came later": (OLD, NEW, f"chromadb {OLD} cannot be the stop after chromadb"),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", SENSELESS)
def test_a_stop_that_cannot_be_made_costs_no_link(chain: Path, how: str) -> None:
    release, before, said = SENSELESS[how]
    there = hashes(chain)
    with Arena([], scratch_root=None) as arena, pytest.raises(UsageError, match=said):
        Chain.open(chain, before).stop(arena, release, before, ALL)
    assert hashes(chain) == there


def hashes(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.slow
def test_a_stop_repeated_cuts_off_what_came_after_it(chain: Path) -> None:
    path = chain / OLD / "link.json"
    rewrite(path, drawers=json.loads(path.read_text())["drawers"] + 1)
    Chain.open(chain, OLD).taken_over(OLD)
    with pytest.raises(UsageError, match="has handed on since; go on from there again"):
        Chain.open(chain, NEW).taken_over(NEW)


@pytest.mark.slow
def test_a_chain_begun_again_has_nothing_of_the_old_one(chain: Path) -> None:
    assert Chain.begin(chain, 8).seed == 8
    assert [path.name for path in chain.iterdir()] == ["chain.json"]


def test_a_chain_is_begun_in_no_directory_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(UsageError, match="holds something that is no chain of hops"):
        Chain.begin(tmp_path, 1)
    assert (tmp_path / "mine").exists()


@pytest.mark.parametrize("what", ["file", "link", "link_to_nothing", "file/below"])
def test_a_chain_is_begun_in_a_directory_only(tmp_path: Path, what: str) -> None:
    (tmp_path / "file").write_text("mine")
    Chain.begin(tmp_path / "theirs", 1)
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    (tmp_path / "link_to_nothing").symlink_to(tmp_path / "nothing")
    with pytest.raises(UsageError, match="name a new or an empty directory with --chain") as caught:
        Chain.begin(tmp_path / what, 1)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "file").read_text() == "mine"
    assert (tmp_path / "theirs" / "chain.json").is_file()
    assert (tmp_path / "link").is_symlink()


# The environments --------------------------------------------------------------------------------


def test_an_environment_that_is_not_of_the_lock_is_no_stop() -> None:
    with pytest.raises(RefusedError) as caught:
        own_environment(NEW)
    said = str(caught.value)
    assert f"no environment of chromadb {NEW}: it has no chromadb" in said
    assert f"chroma-{NEW}.txt" in said
    assert "\n" not in said


@pytest.mark.parametrize("release", known_releases())
def test_the_lab_and_a_release_agree_on_every_version_they_share(release: str) -> None:
    ours, theirs = pins(catalog.LOCKS / "lab.txt"), pins(catalog.lock_path(release))
    shared = ours.keys() & theirs.keys()
    assert {"numpy", "dill"} <= shared
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}


def pins(lock: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in lock.read_text(encoding="utf-8").splitlines():
        if pin := re.match(r"([\w.-]+)==(\S+)", line):
            found.setdefault(pin[1], set()).add(pin[2])
    return found
