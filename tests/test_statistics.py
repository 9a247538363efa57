"""The formulas of the judge against scipy, and their promises by exact computation."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betaln, xlog1py, xlogy
from scipy.stats import beta, binom, binomtest

from palace_lab.judge.statistics import (
    SequentialTest,
    binomial_tail,
    interval,
    running_interval,
    upper_bound,
)

CONFIDENCES = (0.9, 0.95, 0.99)
PROBABILITIES = st.floats(0, 1, allow_subnormal=False)

COUNTS = [(k, n) for n in range(1, 26) for k in range(n + 1)]


@st.composite
def counts(draw: st.DrawFn, n_max: int = 400) -> tuple[int, int]:
    n = draw(st.integers(1, n_max))
    return draw(st.integers(0, n)), n


# Against scipy -----------------------------------------------------------------------------------


@given(counts(), PROBABILITIES)
def test_the_tail_is_scipys(count: tuple[int, int], p: float) -> None:
    k, n = count
    assert binomial_tail(k, n, p) == pytest.approx(binom.sf(k - 1, n, p), rel=1e-9, abs=1e-200)


def check_against_scipy(k: int, n: int, confidence: float) -> None:
    theirs = binomtest(k, n).proportion_ci(confidence, method="exact")
    assert interval(k, n, confidence=confidence) == pytest.approx(theirs, abs=1e-10)
    bound = 1.0 if k == n else beta.ppf(confidence, k + 1, n - k)
    assert upper_bound(k, n, confidence=confidence) == pytest.approx(bound, abs=1e-10)


def test_small_intervals_are_scipys() -> None:
    for k, n in COUNTS:
        check_against_scipy(k, n, 0.95)


@settings(max_examples=30)
@given(counts(), st.sampled_from(CONFIDENCES))
def test_intervals_are_scipys(count: tuple[int, int], confidence: float) -> None:
    check_against_scipy(*count, confidence)


@pytest.mark.parametrize("n", [1, 5, 20, 59, 1000])
def test_nothing_seen_has_the_bound_of_the_textbook(n: int) -> None:
    assert upper_bound(0, n) == pytest.approx(1 - 0.05 ** (1 / n), abs=1e-12)
    assert interval(0, n)[0] == 0.0
    assert interval(n, n)[1] == upper_bound(n, n) == 1.0


def test_without_a_trial_nothing_is_known() -> None:
    assert interval(0, 0) == running_interval(0, 0) == (0.0, 1.0)
    assert upper_bound(0, 0) == 1.0
    assert SequentialTest(0.5).decide(0, 0) == "undecided"


@pytest.mark.parametrize(("k", "n"), [(-1, 3), (4, 3), (0, -1)])
def test_counts_that_cannot_be_are_refused(k: int, n: int) -> None:
    for formula in (interval, upper_bound, running_interval, SequentialTest(0.5).decide):
        with pytest.raises(ValueError, match=f"{k} of {n} is no count"):
            formula(k, n)


# The running interval ----------------------------------------------------------------------------

Formula = Callable[[int, int], tuple[float, float]]


def coverage(formula: Formula, p: float, n_max: int) -> float:
    """Exact probability, over all courses of n_max trials, that the formula never excludes p."""
    never = {0: 1.0}  # successes so far, with the probability that p was not excluded on the way
    for n in range(1, n_max + 1):
        following: dict[int, float] = {}
        for k, mass in never.items():
            for more, share in ((1, p), (0, 1 - p)):
                low, high = formula(k + more, n)
                if share and low <= p <= high:
                    following[k + more] = following.get(k + more, 0.0) + mass * share
        never = following
    return sum(never.values())


running = cache(running_interval)


@pytest.mark.parametrize("p", [0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.73, 0.9, 0.99, 1.0])
def test_the_running_interval_holds_at_all_n_at_once(p: float) -> None:
    assert coverage(running, p, 80) >= 0.95


def test_an_interval_made_for_one_n_does_not_hold_at_all_n_at_once() -> None:
    assert coverage(interval, 0.25, 30) < 0.95


@given(counts(n_max=2000), st.sampled_from(CONFIDENCES))
def test_the_running_interval_is_around_what_was_seen(
    count: tuple[int, int], confidence: float
) -> None:
    k, n = count
    low, high = running_interval(k, n, confidence=confidence)
    assert 0 <= low <= k / n <= high <= 1
    assert (low == 0) == (k == 0)
    assert (high == 1) == (k == n)
    assert (1 - high, 1 - low) == pytest.approx(
        running_interval(n - k, n, confidence=confidence), abs=1e-9
    )


@given(counts(n_max=2000), st.sampled_from(CONFIDENCES))
def test_the_running_interval_ends_where_the_evidence_weighs_enough(
    count: tuple[int, int], confidence: float
) -> None:
    """At either end the mixture of all p is 1 / (1 - confidence) times as likely as this p."""
    k, n = count
    for p in running_interval(k, n, confidence=confidence):
        if 0 < p < 1:
            weight = betaln(k + 1, n - k + 1) - xlogy(k, p) - xlog1py(n - k, -p)
            assert weight == pytest.approx(-math.log(1 - confidence), abs=1e-6)


def test_more_confidence_or_fewer_trials_make_it_wider() -> None:
    narrow = running_interval(30, 100)
    for wide in (running_interval(30, 100, confidence=0.99), running_interval(3, 10)):
        assert wide[0] < narrow[0] < narrow[1] < wide[1]


# The sequential test -----------------------------------------------------------------------------


def chance_of(test: SequentialTest, decision: str, truth: float, first_look: int) -> float:
    """Exact probability that the test ever says this, looked at after each trial until it decides.

    What is still undecided after 2,000 trials is counted as said.
    """
    open_, said = {0: 1.0}, 0.0
    for n in range(1, 2001):
        following: dict[int, float] = {}
        for k, mass in open_.items():
            for more, share in ((1, truth), (0, 1 - truth)):
                found = test.decide(k + more, n) if n >= first_look else "undecided"
                if found == decision:
                    said += mass * share
                elif found == "undecided" and share:
                    following[k + more] = following.get(k + more, 0.0) + mass * share
        open_ = {k: mass for k, mass in following.items() if mass > 1e-15}
        if sum(open_.values()) < 1e-6:
            break
    return said + sum(open_.values())


@pytest.mark.parametrize("p", [0.04, 0.1, 0.3, 0.5, 0.75, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("first_look", [1, 5])
def test_each_error_happens_in_at_most_one_run_of_a_hundred(p: float, first_look: int) -> None:
    test = SequentialTest(p)
    for truth in (p, (1 + p) / 2):
        assert chance_of(test, "not reproduced", truth, first_look) <= 0.01
    for truth in (p / 4, p / 8):
        assert chance_of(test, "reproduced", truth, first_look) <= 0.01


def test_another_error_may_be_asked_for() -> None:
    for error in (0.001, 0.2):
        test = SequentialTest(0.4, error)
        assert chance_of(test, "not reproduced", 0.4, 1) <= error
        assert chance_of(test, "reproduced", 0.1, 1) <= error


@pytest.mark.parametrize("p", [0.04, 0.1, 0.3, 0.5, 0.8, 0.9, 0.99, 1.0])
def test_enough_trials_leave_one_run_of_a_hundred_open_and_one_fewer_more(p: float) -> None:
    test = SequentialTest(p)
    dice = np.random.default_rng(17)
    many, n = 4000, test.enough()
    successes = np.cumsum(dice.random((many, n)) < p, axis=1)
    ended = [
        next((i for i, k in enumerate(row, 1) if test.decide(int(k), i) != "undecided"), n + 1)
        for row in successes
    ]
    assert np.mean([each > n for each in ended]) <= 0.01 + 0.007  # four of its standard errors
    assert np.mean([each > n - 1 for each in ended]) >= 0.01 - 0.007


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 1.0])
def test_it_comes_to_an_end_on_either_side(p: float) -> None:
    test = SequentialTest(p)
    assert test.decide(0, 200) == "not reproduced"
    assert test.decide(200, 200) == "reproduced"
    assert test.decide(0, 0) == "undecided"


@given(counts(n_max=60), st.sampled_from((0.1, 0.5, 0.9, 1.0)))
def test_one_success_more_never_speaks_against_it(count: tuple[int, int], p: float) -> None:
    k, n = count
    order = ("not reproduced", "undecided", "reproduced")
    said = [order.index(SequentialTest(p).decide(each, n)) for each in (max(0, k - 1), k)]
    assert said == sorted(said)


@pytest.mark.parametrize("p", [0.0, -0.1, 1.1])
def test_a_probability_that_cannot_be_declared_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        SequentialTest(p)


@pytest.mark.parametrize("error", [0.0, 1.0])
def test_an_error_that_cannot_be_bounded_is_refused(error: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        SequentialTest(0.5, error)
