"""The lot: one seed draws one night, every bug has its turn, canaries keep their share."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from palace_lab.judge.verdict import Role
from palace_lab.runner.lot import CANARY_EVERY, SHOWN, Draw, Ticket, draws, repeats

ROLES: tuple[Role, ...] = ("off", "as-reported", "fixed")


def tickets(n: int, **races: float) -> list[Ticket]:
    return [
        Ticket(f"s1/{number}", release, role, races.get(f"s{number}"))
        for number in range(n)
        for release in ("0.6.3", "1.5.9")
        for role in ROLES
    ]


def night(found: list[Ticket], length: int, seed: int = 1) -> list[Draw]:
    return list(islice(draws(found, seed), length))


def test_the_same_seed_draws_the_same_night_and_another_one_another() -> None:
    assert night(tickets(9), 400) == night(tickets(9), 400)
    assert night(tickets(9), 400, seed=2) != night(tickets(9), 400)


def test_no_trial_comes_twice() -> None:
    keys = [draw.key for draw in night(tickets(7), 3000)]
    assert len(set(keys)) == len(keys)


def test_every_bug_has_come_before_most_of_the_fixed_arms_have() -> None:
    found = tickets(20)
    first = night(found, 40 + 20 + 40 // CANARY_EVERY + 1)
    off = {draw.key[:3] for draw in first if draw.role == "off"}
    assert off == {ticket.key for ticket in found if ticket.role == "off"}
    assert 10 <= sum(draw.role == "fixed" for draw in first) <= 25
    assert not any(draw.role == "as-reported" for draw in first)


def test_a_race_comes_as_often_as_it_takes_to_show() -> None:
    assert repeats(None) == 1
    assert 1 - (1 - 0.3) ** repeats(0.3) >= SHOWN > 1 - (1 - 0.3) ** (repeats(0.3) - 1)
    first = night(tickets(8, s3=0.3), 2 * (8 * 2 + 2 * repeats(0.3)))
    shown = Counter(draw.scenario for draw in first if draw.role == "off")
    assert shown["s1/3"] >= 2 * repeats(0.3)
    assert shown["s1/1"] < 10


def test_after_that_most_trials_must_hold_and_every_arm_still_comes() -> None:
    later = night(tickets(5), 2000)[200:]
    count = Counter(draw.role for draw in later)
    assert count["fixed"] > 0.75 * len(later)
    assert {draw.key[:3] for draw in later} == {ticket.key for ticket in tickets(5)}


def test_one_canary_in_a_block_and_the_first_one_early() -> None:
    for seed in range(20):
        drawn = night(tickets(6), 2000, seed)
        plain = [draw for draw in drawn if draw.role == "fixed" and not draw.canary]
        canaries = [draw for draw in drawn if draw.canary]
        assert all(draw.role == "fixed" for draw in canaries)
        assert abs(len(canaries) - len(plain) / CANARY_EVERY) <= 1
        assert any(draw.canary for draw in drawn[: 4 * 3 + 1])


def test_races_have_no_canary() -> None:
    every = {f"s{number}": 0.9 for number in range(4)}
    assert not any(draw.canary for draw in night(tickets(4, **every), 1000))


@pytest.mark.parametrize("cost_s", [0.0, 20.0])
def test_a_cell_that_takes_long_sits_out(cost_s: float) -> None:
    found = [Ticket("s1/a", "1.5.9", "fixed", cost_s=cost_s)]
    found += [Ticket(f"s1/{number}", "1.5.9", "fixed", cost_s=2.0) for number in range(9)]
    count = Counter(draw.scenario for draw in night(found, 1000))
    assert count["s1/a"] == pytest.approx(count["s1/1"] / (10 if cost_s else 1), rel=0.1)


def test_a_race_comes_as_often_as_it_takes_before_what_takes_minutes() -> None:
    long = [Ticket(f"s2/long{n}", "1.5.9", "off", 0.9, minutes=9 - n) for n in range(3)]
    race = Ticket("s1/race", "1.5.9", "off", 0.3)
    for seed in range(5):
        drawn = [draw.scenario for draw in night([*long, race, *tickets(10)], 60, seed)]
        at = min(drawn.index(each.scenario) for each in long)
        shorter_first = [each.scenario for each in reversed(long)]
        assert [name for name in drawn if "long" in name][:3] == shorter_first
        assert drawn[:at].count("s1/race") == repeats(0.3) == 13


def test_nothing_to_draw_from_is_an_end() -> None:
    assert night([], 10) == []
    assert {draw.role for draw in night([Ticket("s1/a", "1.5.9", "off")], 10)} == {"off"}


def test_what_takes_minutes_comes_after_every_other_bug() -> None:
    long = [Ticket("s2/long", "1.5.9", role, 0.9, minutes=3) for role in ROLES]
    for seed in range(5):
        first = night([*long, *tickets(20)], 400, seed)
        bugs = [draw for draw in first if draw.role == "off"]
        at = next(number for number, draw in enumerate(bugs) if draw.scenario == "s2/long")
        assert len({draw.key[:3] for draw in bugs[:at]}) == 40
        must_hold = [draw.scenario for draw in first if draw.role == "fixed" and not draw.canary]
        assert must_hold.index("s2/long") == 40
        assert must_hold.count("s2/long") < must_hold.count("s1/0") / 2
