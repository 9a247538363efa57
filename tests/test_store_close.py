"""Closing: what a process wrote is read back before it goes, and nobody waits for that."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from palace_lab.processes.supervise import CrashPoint, tracing_available
from palace_store.fixes import Fixes
from palace_store.state import read_state

sys.path.append(str(Path(__file__).parent / "entries"))
from store_bench import Bench

pytestmark = [pytest.mark.slow, pytest.mark.s1]

MANY = list(range(30))


def written(bench: Bench, name: str) -> Path:
    """Return the place for a palace that does not exist yet."""
    palace = bench.directory / name
    assert not palace.exists()
    return palace


def test_who_closes_reads_back_what_it_wrote(bench: Bench) -> None:
    palace = written(bench, "closed")
    with bench.worker(palace) as worker:
        worker.do("put", numbers=MANY)
        assert not worker.do("state")["is_read_back"]
        worker.do("close")
        assert worker.do("state")["is_read_back"]
    assert read_state(palace).open_flush == ()


def test_what_could_not_be_read_back_is_tried_again_by_the_next(bench: Bench) -> None:
    palace = written(bench, "blind")
    with bench.worker(palace) as worker:
        worker.do("put", numbers=MANY)
        worker.do("blind")
        worker.do("close")
        assert not worker.do("state")["is_read_back"]
        assert worker.do("look")["lost"] == []
        worker.do("close")
        assert not worker.do("state")["is_read_back"]
    with bench.worker(palace) as worker:
        worker.do("open")
        worker.do("close")
        assert worker.do("state")["is_read_back"]


def test_a_store_that_was_never_opened_closes_without_a_trace(bench: Bench) -> None:
    palace = written(bench, "never")
    with bench.worker(palace) as worker:
        worker.do("close")
    assert not palace.exists()


def test_without_the_fix_nothing_is_compared(bench: Bench) -> None:
    palace = written(bench, "without")
    with bench.worker(palace, fixes=Fixes.all().without("read_back").words()) as worker:
        worker.do("put", numbers=MANY)
        worker.do("close")
    assert read_state(palace).read_back == ()


def test_who_closes_does_not_wait_for_a_peer_that_has_the_palace(bench: Bench) -> None:
    palace = written(bench, "held")
    with bench.worker(palace) as one, bench.worker(palace) as two:
        one.do("put", numbers=MANY)
        two.do("hold", term_s=60.0)
        one.begin("close")
        one.answer(timeout_s=10.0)  # a store waits up to 20 s for its lease
        assert not two.do("state")["is_read_back"]
        two.do("release")
        assert two.do("look")["lost"] == []
        two.do("close")
        assert two.do("state")["is_read_back"]


@pytest.mark.skipif(tracing_available() is not None, reason=str(tracing_available()))
@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_a_flush_that_failed_in_silence_is_noted_at_close(bench: Bench, error: str) -> None:
    palace = written(bench, f"failed-{error}")
    with bench.worker(palace) as worker:
        worker.do("put", numbers=MANY)
        worker.do("close")
    point = CrashPoint("write", f"{palace}/*data_level0.bin", 1, "fail", errno=error, repeat=None)
    with bench.worker(palace, points=[point]) as worker:
        worker.do("put", numbers=MANY, revision=1)  # acknowledged
        worker.do("close")
    assert read_state(palace).open_flush == ("drawers",)
    with bench.worker(palace) as worker:
        found = worker.do("look")
        assert found["lost"] == []
        assert found["documents"] == {f"drawer-{n:04d}": f"{n} at 1" for n in MANY}
    assert read_state(palace).open_flush == ()
