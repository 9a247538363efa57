"""A plan that fails is made smaller, stays a plan, and goes on failing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from palace_lab.plan import Plan, check_plan, dump_plan
from palace_lab.plan.model import Process
from palace_lab.plan.steps import (
    AnyStep,
    Begin,
    Close,
    Continue,
    Crash,
    Do,
    Finish,
    Hold,
    Release,
    Stop,
    write,
)
from palace_lab.repro.shrink import shrink

NOISE: tuple[AnyStep, ...] = tuple(write(f"noise{n}", 5, first=100 * n) for n in range(8))
CAUSE = (Crash("writer", "write", "*", k=1), write("writer", 40))


def plan(*made: AnyStep) -> Plan:
    names = ("writer", *(f"noise{n}" for n in range(8)))
    return Plan(processes=tuple(Process(name, release="1.5.9") for name in names), steps=made)


def caused(candidate: Plan) -> bool:
    """Fails with the crash point before a write of seven drawers or more."""
    armed = False
    for step in candidate.steps:
        armed |= isinstance(step, Crash)
        if armed and isinstance(step, Do) and step.process == "writer":
            return int(step.args["count"]) >= 7
    return False


@given(st.permutations(NOISE), st.integers(0, 8), st.integers(0, 8))
def test_only_the_cause_is_left(noise: list[AnyStep], first: int, second: int) -> None:
    early, late = sorted((first, second))
    whole = plan(*noise[:early], CAUSE[0], *noise[early:late], CAUSE[1], *noise[late:])
    smallest = shrink(whole, caused)
    assert [type(step) for step in smallest.steps] == [Crash, Do]
    assert [process.name for process in smallest.processes] == ["writer"]
    assert caused(smallest)
    assert dump_plan(smallest)


def test_writes_become_shorter_as_long_as_it_fails() -> None:
    smallest = shrink(plan(*CAUSE), caused)
    assert smallest.steps == (CAUSE[0], write("writer", 20))
    again = shrink(shrink(smallest, caused), caused)
    assert again.steps == (CAUSE[0], write("writer", 9))


def test_it_stops_after_as_many_plays_as_it_may_have() -> None:
    for plays_max in (0, 1, 5):
        played: list[Plan] = []

        def never(candidate: Plan, played: list[Plan] = played) -> bool:
            played.append(candidate)
            return False

        whole = plan(*NOISE, *CAUSE)
        assert shrink(whole, never, plays_max=plays_max) == whole
        assert len(played) == plays_max


def test_what_needs_a_step_before_it_goes_with_that_step() -> None:
    whole = plan(
        Begin("a", "write", {"first": 0, "count": 1}),
        Finish("a"),
        Hold("b", "write", "*"),
        Begin("b", "write", {"first": 9, "count": 1}),
        Release("b"),
        Finish("b"),
        write("c", 1, first=20),
        Stop("c"),
        Continue("c"),
        Close("a"),
    )
    tried: list[Plan] = []

    def fails(candidate: Plan) -> bool:
        tried.append(candidate)
        return any(isinstance(step, Stop) for step in candidate.steps)

    assert shrink(whole, fails).steps == (write("c", 1, first=20), Stop("c"), Continue("c"))
    for candidate in tried:
        assert check_plan(candidate, "the candidate") is candidate
        kinds = [(type(step), getattr(step, "process", "")) for step in candidate.steps]
        for later, needed in ((Finish, Begin), (Release, Hold), (Continue, Stop)):
            for at, (kind, name) in enumerate(kinds):
                assert kind is not later or (needed, name) in kinds[:at]
