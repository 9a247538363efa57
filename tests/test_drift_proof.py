"""Damage by real writers that kills readers, and what is left of it after recovery.

Two raw writers take strict turns; nothing is killed, every write is acknowledged. The first palace
whose fresh reader dies by a signal is kept, and copies of it are opened: by raw chromadb, then by
our library. The numbers are those of the report: 17 of 20 opens crashed, and none may. `-s` shows
what was counted; docs/s1-measured.md has it.
"""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from palace_lab.processes.supervise import WorkerGoneError
from palace_lab.workloads.vectors import drawer_id
from palace_store.anatomy import survey

sys.path.append(str(Path(__file__).parent / "entries"))
from drift_bench import BATCH, FOUNDED, ROUNDS, Reading, Ruins
from store_bench import RELEASES, host_of

pytestmark = [pytest.mark.timeout(1800), pytest.mark.slow, pytest.mark.s1]

#: Palaces made at most until a reader dies. The rarest seen is 15 % (1.5.9): 0.85 ** 30 = 0.8 %.
TRIES_MAX = 30
#: Copies of a palace whose log was purged that raw chromadb opens, and then our library.
OPENS = 3
WRITTEN = len(FOUNDED) + 2 * ROUNDS * BATCH
FATAL = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}

PR = pytest.param("0.6.3", 5, id="0.6.3-5")
NIGHTLY = [
    pytest.param(release, 20, id=f"{release}-20", marks=pytest.mark.nightly) for release in RELEASES
]


@pytest.fixture
def ruins(release: str, tmp_path: Path) -> Iterator[Ruins]:
    with host_of(release, tmp_path) as host:
        yield Ruins(host, tmp_path)


def search(ruins: Ruins, founder: str) -> tuple[Path, int, list[int], int]:
    """Return the first palace that kills its reader, its seed, its drawers, and how many tries."""
    seen: list[Reading] = []
    for seed in range(TRIES_MAX):
        try:
            palace, numbers = ruins.ruined(seed, founder)
        except (RuntimeError, WorkerGoneError) as error:
            seen.append(Reading(error=f"a writer met it: {error}"))
            continue
        assert len(numbers) == WRITTEN
        seen.append(ruins.read_copy(palace, "chroma", seed, numbers))
        assert not seen[-1].whole, "two raw writers ruined nothing"
        if seen[-1].signal in FATAL:
            return palace, seed, numbers, len(seen)
    pytest.fail(f"no reader died in {TRIES_MAX} palaces: {seen[-1]}")


@pytest.mark.parametrize(("release", "opens"), [PR, *NIGHTLY])
def test_every_open_crashes_and_none_after_recovery(ruins: Ruins, release: str, opens: int) -> None:
    palace, seed, numbers, tries = search(ruins, "palace")
    found = survey(palace).collection("drawers")
    assert found.segment is not None
    assert found.segment.header is not None
    assert found.segment.index is not None
    elements = found.segment.header.cur_count
    claimed = len(found.segment.index.id_to_label)
    live = len(found.index_ids)
    assert live <= claimed < len(found.rows) == WRITTEN
    assert found.log_complete

    raw = [ruins.read_copy(palace, "chroma", seed, numbers) for _ in range(opens)]
    died = Counter(signal.Signals(each.signal).name for each in raw if each.signal in FATAL)
    ours = [ruins.read_copy(palace, "palace", seed, numbers) for _ in range(opens)]
    crashed = sum(each.signal is not None for each in ours)
    lost = max(len(each.missing) for each in ours)
    print(
        f"{release} kept log: palace {tries} of at most {TRIES_MAX} kills its reader; elements "
        f"{elements}, ids of the pickle {claimed}, of these with a vector {live}, rows "
        f"{len(found.rows)}; raw opens {dict(died)} of {opens}; after recovery "
        f"{crashed} of {opens} crash, {lost} drawers lost"
    )
    assert died.total() == opens
    for each in ours:
        assert each.whole, each
        assert set(numbers) == each.listed


@pytest.mark.nightly
@pytest.mark.parametrize("release", RELEASES)
def test_what_a_purged_log_leaves_is_named_drawer_by_drawer(ruins: Ruins, release: str) -> None:
    """Here no recovery can be whole: the vectors were only in the index that was overwritten."""
    palace, seed, numbers, tries = search(ruins, "chroma")
    found = survey(palace).collection("drawers")
    gone, doubtful = set(found.unrecoverable), set(found.doubtful)
    sure = set(found.vectors().ids)
    print(
        f"{release} purged log: palace {tries} of at most {TRIES_MAX} kills its reader; of "
        f"{len(found.rows)} rows {len(sure)} are sure, {len(doubtful)} doubtful, {len(gone)} gone"
    )
    assert set(found.rows) == {drawer_id(number) for number in numbers}
    assert gone
    assert doubtful
    assert gone | doubtful | sure == set(found.rows)
    assert len(gone) + len(doubtful) + len(sure) == len(found.rows)

    raw = [ruins.read_copy(palace, "chroma", seed, numbers) for _ in range(OPENS)]
    ours = [ruins.read_copy(palace, "palace", seed, numbers) for _ in range(OPENS)]
    print(
        f"raw opens that die {sum(each.signal in FATAL for each in raw)} of {OPENS}, ours "
        f"{sum(each.signal is not None for each in ours)}; drawers ours does not find "
        f"{[len(each.missing) for each in ours]}, and names {[len(each.named) for each in ours]}"
    )
    assert all(each.signal in FATAL for each in raw)
    for each in ours:
        assert each.signal is None
        assert each.error == ""
        assert each.listed == set(numbers)
        assert {drawer_id(number) for number in each.missing} == gone | doubtful
        assert each.named == each.missing
