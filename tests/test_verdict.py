"""What trials amount to: every combination of up to three trials, and the cases one meets."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest

from palace_lab.checks.signatures import FAMILIES
from palace_lab.errors import ExitCode
from palace_lab.judge.statistics import SequentialTest, interval, running_interval, upper_bound
from palace_lab.judge.verdict import Name, Role, Tried, Verdict, judge

KINDS = {
    "listed": Tried("finding-id", reached=True),
    "unlisted": Tried("locked", reached=True),
    "held": Tried(None, reached=True),
    "missed": Tried(None, reached=False),
    "missed, listed": Tried("finding-id", reached=False),
    "lab": Tried(None, reached=True, lab_error="the disk is full"),
    "lab, listed": Tried("finding-id", reached=True, lab_error="the disk is full"),
}
UP_TO_THREE = [kinds for n in range(4) for kinds in itertools.product(KINDS, repeat=n)]
FAILED = {"listed", "unlisted", "missed, listed"}
MISSED = {"missed", "missed, listed"}
LAB = {"lab", "lab, listed"}
OFF: tuple[Role, ...] = ("off", "wrong")
ACCEPTS = frozenset({"finding-id"})


def judged(role: Role, kinds: tuple[str, ...], p: float | None = None) -> Verdict:
    return judge(role, [KINDS[kind] for kind in kinds], accepts=ACCEPTS, probability=p)


def count(kinds: tuple[str, ...], names: set[str]) -> int:
    return sum(kind in names for kind in kinds)


# Every combination of up to three trials ---------------------------------------------------------


@pytest.mark.parametrize("role", OFF)
def test_a_deterministic_off_arm(role: Role) -> None:
    for kinds in UP_TO_THREE:
        present = set(kinds)
        wanted: Name
        if present & LAB:
            wanted = "UNKNOWN"
        elif not kinds or present & MISSED:
            wanted = "VACUOUS"
        elif present == {"listed"}:
            wanted = "REPRODUCED"
        elif present == {"held"}:
            # Three trials are too few for GONE; a wrong variant that holds is no evidence at all.
            wanted = "VACUOUS" if role == "wrong" else "UNKNOWN"
        elif "held" in present:
            wanted = "FLAKY"
        else:
            wanted = "UNKNOWN"
        verdict = judged(role, kinds)
        assert verdict.name == wanted, kinds
        assert (verdict.k, verdict.n) == (count(kinds, {"listed"}), len(kinds)), kinds
        assert (verdict.low, verdict.high) == interval(verdict.k, verdict.n)


@pytest.mark.parametrize("p", [0.3, 0.9, 1.0])
@pytest.mark.parametrize("role", OFF)
def test_an_off_arm_that_is_a_race(role: Role, p: float) -> None:
    for kinds in UP_TO_THREE:
        n, k = len(kinds), count(kinds, {"listed"})
        decision = SequentialTest(p).decide(k, n)
        wanted: Name
        if set(kinds) & LAB:
            wanted = "UNKNOWN"
        elif count(kinds, MISSED) == n:
            wanted = "VACUOUS"
        elif decision == "reproduced":
            wanted = "REPRODUCED"
        elif role == "wrong" and set(kinds) == {"held"} and decision == "not reproduced":
            wanted = "VACUOUS"
        elif decision == "undecided" or set(kinds) <= FAILED or set(kinds) == {"held"}:
            wanted = "UNKNOWN"
        else:
            wanted = "NOT REPRODUCED"
        verdict = judged(role, kinds, p)
        assert verdict.name == wanted, kinds
        assert (verdict.k, verdict.n) == (k, n), kinds
        assert (verdict.low, verdict.high) == running_interval(k, n)


def test_a_fixed_arm() -> None:
    for kinds in UP_TO_THREE:
        n, k = len(kinds), count(kinds, FAILED)
        wanted: Name
        if k:
            wanted = "VIOLATED"
        elif set(kinds) & LAB:
            wanted = "UNKNOWN"
        elif "missed" in kinds or not kinds:
            wanted = "VACUOUS"
        else:
            wanted = "HELD"
        for p in (None, 0.5):  # a race, too, must never fail once it is fixed
            verdict = judged("fixed", kinds, p)
            assert (verdict.name, verdict.k, verdict.n) == (wanted, k, n), kinds
            bound = interval(k, n) if k else (0.0, upper_bound(0, n))
            assert (verdict.low, verdict.high) == bound


def test_a_published_fix() -> None:
    for kinds in UP_TO_THREE:
        n, k = len(kinds), count(kinds, FAILED)
        wanted: Name
        if set(kinds) & LAB:
            wanted = "UNKNOWN"
        elif count(kinds, {"missed"}) == n:
            wanted = "VACUOUS"
        else:
            wanted = "OBSERVED"
        verdict = judged("as-reported", kinds)
        assert (verdict.name, verdict.k, verdict.n) == (wanted, k, n), kinds
        assert (verdict.low, verdict.high) == interval(k, n)


@pytest.mark.parametrize("role", get_args(Role))
@pytest.mark.parametrize("p", [None, 0.9])
def test_what_holds_of_every_verdict(role: Role, p: float | None) -> None:
    for kinds in UP_TO_THREE:
        verdict = judged(role, kinds, p)
        assert sum(times for _, times in verdict.outcomes) == len(kinds)
        assert dict(verdict.outcomes).get("lab-error", 0) == count(kinds, LAB)
        assert 0 <= verdict.low <= verdict.high <= 1
        assert verdict.good == (verdict.exit_code is ExitCode.PROMISED)
        assert verdict.good or verdict.name == "VIOLATED" or verdict.reason
        for other in itertools.permutations(kinds):
            assert judged(role, other, p) == verdict  # the order of trials says nothing


# How many it takes -------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [None, 0.9])
@pytest.mark.parametrize(("n", "name"), [(4, "UNKNOWN"), (5, "GONE"), (20, "GONE")])
def test_gone_takes_five_trials_that_held(p: float | None, n: int, name: Name) -> None:
    assert judged("off", ("held",) * n, p).name == name


@pytest.mark.parametrize("p", [None, 0.9])
def test_gone_takes_faults_that_were_all_reached(p: float | None) -> None:
    assert judged("off", (*["held"] * 9, "missed"), p).name in ("VACUOUS", "NOT REPRODUCED")


@pytest.mark.parametrize("other", [kind for kind in KINDS if kind != "listed"])
def test_one_other_trial_among_many_is_enough_against_a_deterministic_arm(other: str) -> None:
    verdict = judged("off", (*["listed"] * 30, other))
    assert not verdict.good
    assert verdict.k == 30


def test_a_race_may_show_other_failures_beside_its_own() -> None:
    verdict = judged("off", (*["listed"] * 18, "unlisted", "held"), 0.9)
    assert verdict.name == "REPRODUCED"
    assert verdict.outcomes == (("finding-id", 18), ("held", 1), ("locked", 1))


def test_a_race_that_shows_less_often_than_declared() -> None:
    assert judged("off", (*["listed"] * 3, *["held"] * 40), 0.9).name == "NOT REPRODUCED"
    assert judged("off", ("listed", "held", "held"), 0.9).name == "UNKNOWN"


# Families ----------------------------------------------------------------------------------------


def test_a_family_is_reproduced_by_any_mixture_of_its_members() -> None:
    tried = [Tried(name, reached=True) for name in sorted(FAMILIES["index-ruined"])]
    verdict = judge("off", tried, accepts=frozenset({"index-ruined"}), probability=None)
    assert (verdict.name, verdict.k) == ("REPRODUCED", len(tried))
    assert dict(verdict.outcomes) == dict.fromkeys(FAMILIES["index-ruined"], 1)
    alone = judge("off", tried, accepts=frozenset({"finding-id"}), probability=None)
    assert (alone.name, alone.k) == ("UNKNOWN", 1)


def test_several_names_may_be_listed_and_none_may() -> None:
    tried = [Tried("locked", reached=True), Tried("finding-id", reached=True)]
    both = judge("off", tried, accepts=frozenset({"locked", "index-ruined"}), probability=None)
    assert (both.name, both.k) == ("REPRODUCED", 2)
    none = judge("off", tried, accepts=frozenset(), probability=None)
    assert (none.name, none.k) == ("UNKNOWN", 0)


# Words and exit codes ----------------------------------------------------------------------------


def test_outcomes_say_what_counted() -> None:
    kinds = ("missed, listed", "missed", "held", "lab, listed")
    assert dict(judged("off", kinds).outcomes) == {"not-reached": 2, "held": 1, "lab-error": 1}
    for role in ("fixed", "as-reported"):
        assert dict(judged(role, kinds).outcomes) == {
            "finding-id": 1,
            "not-reached": 1,
            "held": 1,
            "lab-error": 1,
        }


def test_a_reason_says_which_fault_was_missed_what_is_listed_and_how_many_it_takes() -> None:
    unmet = [Tried(None, reached=False, missed=("writer killed at write */x k=1",))] * 2
    for role in (*OFF, "fixed", "as-reported"):
        assert judge(role, unmet, accepts=ACCEPTS, probability=None).reason == (
            "the fault was not reached in 2 of 2 trials: writer killed at write */x k=1"
        )
    assert judged("off", ("unlisted",)).reason.endswith("does not list; listed: finding-id")
    assert judged("off", ("listed", "unlisted", "held")).reason.endswith("; listed: finding-id")
    assert "listed" not in judged("off", ("lab", "unlisted")).reason
    nothing = judge("off", [Tried("locked", reached=True)], accepts=frozenset(), probability=None)
    assert nothing.reason.endswith("; listed: nothing")
    assert "5 trials can say that it is gone" in judged("off", ("held", "held")).reason


@pytest.mark.parametrize("reached", [True, False])
@pytest.mark.parametrize(
    ("signature", "code"),
    [
        ("hang", ExitCode.HANG),
        ("reader-stuck", ExitCode.HANG),
        ("writer-stuck", ExitCode.HANG),
        ("locked", ExitCode.VIOLATED),
    ],
)
def test_a_hang_has_an_exit_code_of_its_own(
    signature: str, code: ExitCode, *, reached: bool
) -> None:
    tried = [Tried(signature, reached=reached), Tried("phantom", reached=True)]
    assert judge("fixed", tried, accepts=frozenset(), probability=None).exit_code is code


def test_every_verdict_has_its_exit_code() -> None:
    codes = {name: Verdict(name, 0, 1, (), 0.0, 1.0).exit_code for name in get_args(Name)}
    assert codes == {
        "REPRODUCED": ExitCode.PROMISED,
        "HELD": ExitCode.PROMISED,
        "OBSERVED": ExitCode.PROMISED,
        "VIOLATED": ExitCode.VIOLATED,
        "NOT REPRODUCED": ExitCode.VACUOUS,
        "GONE": ExitCode.GONE,
        "VACUOUS": ExitCode.VACUOUS,
        "UNKNOWN": ExitCode.UNKNOWN,
        "FLAKY": ExitCode.UNKNOWN,
        "REFUSED": ExitCode.REFUSED,
    }
