"""Benchmarks take turns, compare within a round, and say which promise was not kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from palace_lab.benchmarks.machine import describe
from palace_lab.benchmarks.model import Bound, Case, Contestant, Outcome, Sample, measure
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
