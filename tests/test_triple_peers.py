"""A process of our library that is held at one call, and what its peers notice of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from palace_lab.processes.supervise import CrashPoint, Host, Worker, tracing_available
from palace_store.fixes import Fixes
from palace_store.triples import PalaceLockedError, TripleStore

pytestmark = [
    pytest.mark.s2,
    pytest.mark.skipif(tracing_available() is not None, reason=str(tracing_available())),
]

OFF = Fixes.none()
ALL = Fixes.all()
ANSWER_S = 60.0
#: With it not even the longest busy timeout is more than 60 ms, and an instant with no fixes.
SHORT = 0.001
#: About 150 pages in one transaction.
LARGE = {"first": 0, "count": 10, "source_bytes": 60_000}
FRAME_BYTES = 24 + 4096


def launch(host: Host, palace: Path, fixes: Fixes) -> Worker:
    config = {
        "palace": str(palace),
        "process": "w",
        "history": str(palace.parent / "w.hist"),
        "seed": 1,
        "fixes": fixes.words(),
        "time_scale": 1.0,
        "options": {},
        "target": "triples",
    }
    return host.launch(
        "w", entry="palace_lab.targets.worker:main", config=config, traceable=["write"]
    )


def do(worker: Worker, op: str, **args: Any) -> None:
    worker.send({"do": op, "args": args})
    assert worker.receive(ANSWER_S)["done"] == "ok"


def fill_log(palace: Path, pages: int) -> TripleStore:
    """Return a store that has just written a log of so many pages, short of a checkpoint of it."""
    store = TripleStore(palace, fixes=OFF, time_scale=SHORT)
    log = palace / "knowledge.sqlite3-wal"
    for n in range(pages):
        if log.exists() and log.stat().st_size >= pages * FRAME_BYTES:
            break
        store.add("peer", "p", f"{n}", source="x" * 60_000)
    return store


@pytest.mark.parametrize(
    ("fixes", "pages"),
    [(OFF, 900), (Fixes.reported("kg"), 900), (ALL, 100)],
    ids=["off", "reported", "all"],
)
def test_a_checkpoint_after_a_commit_keeps_only_its_own_process_waiting(
    host: Host, tmp_path: Path, fixes: Fixes, pages: int
) -> None:
    """It takes no lock that a peer wants, and comes after the commit: peers see the facts."""
    palace = tmp_path / "palace"
    with fill_log(palace, pages) as peer, launch(host, palace, fixes) as worker:
        do(worker, "open")
        worker.arm([CrashPoint("write", "*/knowledge.sqlite3", 1, "wait", hold_s=ANSWER_S)])
        worker.send({"do": "add_together", "args": LARGE})
        hit = worker.hit(ANSWER_S)
        peer.add("peer", "p", "o")
        assert len(peer.query("peer")) == peer.count() - LARGE["count"]
        assert not worker.has_message
        worker.resume(hit)
        assert worker.receive(ANSWER_S)["done"] == "ok"


@pytest.mark.parametrize(
    ("fixes", "pages", "least", "most"), [(OFF, 900, 600, 1400), (ALL, 100, 50, 250)]
)
def test_how_much_one_checkpoint_after_a_commit_copies(
    host: Host, tmp_path: Path, fixes: Fixes, pages: int, least: int, most: int
) -> None:
    """What a writer waits for: pages of 4 KiB, each once however often it is in the log."""
    palace = tmp_path / "palace"
    with fill_log(palace, pages), launch(host, palace, fixes) as worker:
        do(worker, "open")
        worker.arm([CrashPoint("write", "*/knowledge.sqlite3", 1, "record")])
        for turn in range(50):
            do(worker, "add_together", first=turn, count=1, source_bytes=60_000)
            if copied := len(worker.recorded()):
                break
        assert least <= copied <= most


@pytest.mark.parametrize("fixes", [OFF, ALL], ids=["off", "all"])
def test_a_writer_that_stands_still_for_longer_than_peers_wait(
    host: Host, tmp_path: Path, fixes: Fixes
) -> None:
    """The peer is told that nothing was written; once the writer goes on, both facts are there."""
    palace = tmp_path / "palace"
    with launch(host, palace, fixes) as worker:
        do(worker, "open")
        worker.arm([CrashPoint("write", "*/knowledge.sqlite3-wal", 1, "wait", hold_s=ANSWER_S)])
        worker.send({"do": "add", "args": {"n": 1}})
        hit = worker.hit(ANSWER_S)
        with TripleStore(palace, fixes=fixes, time_scale=SHORT) as peer:
            with pytest.raises(PalaceLockedError, match="nothing was written") as caught:
                peer.add("peer", "p", "o")
            assert caught.value.effect == "none"
            assert peer.count() == 0
            worker.resume(hit)
            assert worker.receive(ANSWER_S)["done"] == "ok"
            assert peer.add("peer", "p", "o") == 2
            assert [triple.subject for triple in peer.all()] == ["w-s1", "peer"]
