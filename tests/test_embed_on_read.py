"""The report's third option, measured: keep no vectors, embed every text when somebody searches.

Beside it, in the same process and on the same palace, a search by stored vectors. The stand-in for
a model only hashes words, so with a model embedding on read costs more than is measured here.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "entries"))
from store_bench import Bench

SIZES = (500, 2000, 8000)


@pytest.mark.nightly
@pytest.mark.s3
@pytest.mark.timeout(1800)
def test_embedding_on_read_costs_more_the_more_there_is(bench: Bench) -> None:
    ratios = []
    with bench.worker(
        bench.directory / "on-read", entry="text_entries:serve", sync_threshold=1000,
        batch_size=100, dimension=384,
    ) as one:  # fmt: skip
        for size in SIZES:
            one.begin("stock", count=size)
            one.answer(600)
            one.begin("compared", searches=5)
            stored_s, on_read_s, agree = one.answer(600)
            assert agree, "both must name the same text first"
            ratios.append(on_read_s / stored_s)
            print(
                f"\n{bench.release}: {size} texts, a search {1000 * stored_s:.1f} ms by stored "
                f"vectors, {1000 * on_read_s:.0f} ms embedding on read: {ratios[-1]:.0f} times"
            )
    assert ratios[-1] > 2 * ratios[0]
    assert ratios[-1] > 10
