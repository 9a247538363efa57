"""Benchmarks take turns, compare within a round, and say which promise was not kept."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace
from typing import cast

import pytest
from click.testing import CliRunner

from palace_lab.benchmarks.histories import judging
from palace_lab.benchmarks.machine import describe
from palace_lab.benchmarks.model import Bound, Case, Contestant, Outcome, Sample, measure
from palace_lab.benchmarks.palaces import Palaces
from palace_lab.benchmarks.victims import kill_once
from palace_lab.cli import palace_lab
from palace_lab.errors import LabError


def case(log: list[str], *bounds: Bound) -> Case:
    figures = {"ours": [2.0, 30.0, 4.0], "theirs": [4.0, 40.0, 2.0], "third": [1.0, 1.0, 1.0]}

    def contestant(name: str) -> Contestant:
        def run() -> Sample:
            log.append(name)
            done = log.count(name) - 1
            return Sample(figures[name][done], {"longest": float(done)})

        return Contestant(name, run)

    return Case("a case", "s", tuple(contestant(name) for name in figures), bounds)


def test_contestants_take_turns_and_the_order_moves_on() -> None:
    log: list[str] = []
    told: list[str] = []
    measure(case(log), 3, told.append)
    assert log == [
        *("ours", "theirs", "third"),
        *("theirs", "third", "ours"),
        *("third", "ours", "theirs"),
    ]
    assert told[0] == "a case: round 1 of 3, ours"


def test_a_ratio_is_the_median_of_those_within_a_round() -> None:
    most = Bound("ours", "theirs", 0.75, at_least=False)
    least = Bound("ours", "theirs", 0.76, at_least=True)
    outcome = measure(case([], most, least), 3, lambda _: None)
    assert outcome.ratio(most) == pytest.approx(0.75)  # of 0.5, 0.75 and 2; of medians: 1
    assert outcome.figure("ours") == 4.0
    assert outcome.seen("ours") == {"longest": 2.0}
    assert outcome.broken() == [least]
    assert (most.words(), least.words()) == ("≤ 0.75×", "≥ 0.76×")


def test_rounds_that_do_not_pair_up_are_an_error() -> None:
    bound = Bound("ours", "theirs", 1.0, at_least=True)
    outcome = Outcome(case([], bound), {"ours": [Sample(1.0)], "theirs": []})
    with pytest.raises(ValueError, match="zip"):
        outcome.ratio(bound)


def test_a_benchmark_without_rounds_is_refused() -> None:
    with pytest.raises(LabError, match="at least one round"):
        measure(case([]), 0, lambda _: None)


def test_a_figure_comes_with_its_machine(tmp_path: Path) -> None:
    said = describe(tmp_path)
    for word in (" cores", " GiB", "Linux ", "load "):
        assert word in said


@pytest.mark.slow
def test_a_small_benchmark_prints_figures_ratios_and_machine(tmp_path: Path) -> None:
    words = ["bench", "searching", "recovery", "--small", "--rounds", "1"]
    result = CliRunner().invoke(palace_lab, [*words, "--report-dir", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "searching 400 drawers" in result.output
    assert "palace against chroma: " in result.output
    assert "small: no promise was judged" in result.output
    (path,) = (each for each in tmp_path.glob("*/bench.jsonl") if each.parent.name != "latest")
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [record["benchmark"] for record in records] == [
        "searching 400 drawers",
        *(f"recovering {size} drawers" for size in ("20", "200", "1,000")),
    ]
    kept = [
        sample for each in records for samples in each["samples"].values() for sample in samples
    ]
    assert kept
    assert all(sample["figure"] > 0 for sample in kept)


@pytest.mark.slow
@pytest.mark.nightly
def test_small_benchmarks_of_the_lab_count_what_was_killed_and_what_was_recorded(
    tmp_path: Path,
) -> None:
    words = ["bench", "starting", "killing", "pointing", "recording", "--small", "--rounds", "1"]
    result = CliRunner().invoke(palace_lab, [*words, "--report-dir", str(tmp_path)])
    assert result.exit_code == 0, result.output
    (path,) = (each for each in tmp_path.glob("*/bench.jsonl") if each.parent.name != "latest")
    records = {
        record["benchmark"]: record["samples"]
        for record in map(json.loads, path.read_text(encoding="utf-8").splitlines())
    }
    assert list(records) == [
        "starting a process",
        "random kills on chromadb",
        "random kills on SQLite",
        "crash points in a flush",
        "recording an event",
    ]
    for samples in records.values():
        for (sample,) in samples.values():
            assert sample["figure"] > 0
    (killed,) = records["random kills on SQLite"]["workers"]
    assert killed["acknowledged"] > 0
    assert killed["palaces ruined"] == 0
    (recorded,) = records["recording an event"]["segment"]
    assert recorded["lost"] == 0


def test_a_history_in_order_is_judged_to_be_so_whatever_is_pending(tmp_path: Path) -> None:
    place = SimpleNamespace(trial_directory=lambda: Path(mkdtemp(dir=tmp_path)))
    palaces = cast(Palaces, SimpleNamespace(arena=place))  # of which no more is needed
    longer, shorter, one = list(judging(palaces, 0.0))[1].contestants
    for each, events in ((longer, 9_984 + 16), (shorter, 992 + 16), (one, 992 + 1)):
        sample = each.run()
        assert sample.figure > 0
        assert sample.seen["events"] == events


def test_a_lost_acknowledged_write_is_an_error_of_the_benchmark() -> None:
    class Forgetful:
        def open(self) -> int | None:
            return 3

        def write(self, seconds: float) -> None:
            """Write nothing."""

        def kill(self) -> int:
            return 2

    assert kill_once(Forgetful(), 0.0, at_least=3) == 2
    with pytest.raises(LabError, match="4 writes were acknowledged before, and 3 are there"):
        kill_once(Forgetful(), 0.0, at_least=4)
