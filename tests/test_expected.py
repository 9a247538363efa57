"""What writers were told against what may be there: sound and tight, judged by simulation."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palace_lab.checks.expected import Expectation, expect
from palace_lab.history.merge import Call
from palace_lab.history.segment import Event, Phase

State = int | None  # a drawer's revision, or None: it is not there
Change = tuple[str, Phase, int, int, int]  # operation, phase, revision, began, ended

OPS = ("add", "upsert", "delete")
DRAWERS = 3


def event(
    phase: Phase, op: str, at: int, *, first: int = 0, count: int = 1, revision: int = 0
) -> Event:
    return Event("writer", 1, 1, phase, op, at, first, count, revision, "")


def call(change: Change, *, first: int = 0, count: int = 1, died: bool = False) -> Call:
    op, phase, revision, began, ended = change
    about = {"first": first, "count": count, "revision": revision}
    return Call(
        event("invoke", op, began, **about), None if died else event(phase, op, ended, **about)
    )


def allowed(expected: Expectation, number: int = 0) -> set[State]:
    states: set[State] = set(expected.must.get(number, ()))
    states.update(expected.may.get(number, ()))
    if number not in expected.must:
        states.add(None)
    return states


def after(state: State, op: str, revision: int) -> State:
    if op == "delete":
        return None
    return state if op == "add" and state is not None else revision


# Soundness: whatever really happened is allowed --------------------------------------------------


@dataclass(frozen=True)
class Simulated:
    """A call with the moment at which it took effect on each drawer; None: it never did."""

    change: Change
    first: int
    died: bool
    effects: tuple[int | None, ...]

    def as_call(self) -> Call:
        return call(self.change, first=self.first, count=len(self.effects), died=self.died)


@st.composite
def simulated(draw: st.DrawFn, revision: int) -> Simulated:
    op = draw(st.sampled_from(OPS))
    phase: Phase = draw(st.sampled_from(("ok", "ok", "info", "fail")))
    first = draw(st.integers(0, DRAWERS - 1))
    count = draw(st.integers(1, DRAWERS - first))
    began = draw(st.integers(0, 12))
    ended = draw(st.integers(began, 14))
    moment: st.SearchStrategy[int | None] = st.integers(began, ended)
    if phase == "info":  # it may come late, long after its caller was told or died, or never
        moment = st.none() | st.integers(began, 30)
    elif phase == "fail":
        moment = st.none()
    effects = draw(st.tuples(*[moment] * count))
    died = phase == "info" and draw(st.booleans())
    return Simulated((op, phase, revision, began, ended), first, died, effects)


@st.composite
def histories(draw: st.DrawFn) -> list[Simulated]:
    # Their order decides between changes of one moment. Some revisions are written twice.
    return [draw(simulated(revision // 2)) for revision in range(draw(st.integers(0, 7)))]


@given(histories())
def test_whatever_happened_is_allowed(history: list[Simulated]) -> None:
    expected = expect([each.as_call() for each in history])
    for number in range(DRAWERS):
        happened = [
            (effect, each.change)
            for each in history
            for at, effect in enumerate(each.effects, each.first)
            if at == number and effect is not None
        ]
        state: State = None
        for _, (op, _, revision, _, _) in sorted(happened, key=lambda item: item[0]):
            state = after(state, op, revision)
        assert state in allowed(expected, number)


# Tightness: whatever is allowed can really happen ------------------------------------------------


def reachable(changes: tuple[Change, ...]) -> set[State]:
    """Every end state, by trying every order of every choice of unknown changes."""
    certain = [change for change in changes if change[1] == "ok"]
    unknown = [change for change in changes if change[1] == "info"]
    states: set[State] = set()
    for chosen in range(len(unknown) + 1):
        for some in itertools.combinations(unknown, chosen):
            for order in itertools.permutations([*certain, *some]):
                if agrees_with_the_clock(order):
                    state: State = None
                    for op, _, revision, _, _ in order:
                        state = after(state, op, revision)
                    states.add(state)
    return states


def agrees_with_the_clock(order: tuple[Change, ...]) -> bool:
    return not any(
        later[1] == "ok" and later[4] < earlier[3]
        for earlier, later in itertools.combinations(order, 2)
    )


def timings(n: int) -> Iterator[tuple[tuple[int, int], ...]]:
    """Every way in which n calls can overlap, without two events at one moment."""
    for places in itertools.permutations(range(2 * n)):
        pairs = tuple(zip(places[::2], places[1::2], strict=True))
        if all(began < ended for began, ended in pairs):
            yield pairs


def tiny_histories(n: int) -> Iterator[tuple[Change, ...]]:
    phases: tuple[Phase, ...] = ("ok", "info", "fail")
    kinds = list(itertools.product(OPS, phases))
    for times in timings(n):
        for chosen in itertools.product(kinds, repeat=n):
            yield tuple(
                (op, phase, revision, began, ended)
                for revision, ((op, phase), (began, ended)) in enumerate(
                    zip(chosen, times, strict=True)
                )
            )


@pytest.mark.parametrize("n", [0, 1, 2])
def test_all_of_it_and_no_more_is_allowed_after_up_to_two_calls(n: int) -> None:
    for changes in tiny_histories(n):
        assert allowed(expect(map(call, changes))) == reachable(changes), changes


def test_all_of_it_and_no_more_is_allowed_after_three_calls() -> None:
    seen = 0
    for changes in tiny_histories(3):
        if any(change[1] == "fail" for change in changes):
            continue  # the same as two calls; what fail means is covered there
        seen += 1
        assert allowed(expect(map(call, changes))) == reachable(changes), changes
    assert seen == 90 * 6**3


@st.composite
def changes_of_one_drawer(draw: st.DrawFn) -> tuple[Change, ...]:
    found: list[Change] = []
    for revision in range(draw(st.integers(1, 5))):
        op = draw(st.sampled_from(OPS))
        phase: Phase = draw(st.sampled_from(("ok", "ok", "info")))
        began = draw(st.integers(0, 8))
        found.append((op, phase, revision // 2, began, draw(st.integers(began, 9))))
    return tuple(found)


@given(changes_of_one_drawer())
def test_more_calls_moments_shared_and_revisions_written_twice(changes: tuple[Change, ...]) -> None:
    assert allowed(expect(map(call, changes))) == reachable(changes)


# Long histories: the rules, word for word, instead of every order -------------------------------


def by_the_rules(changes: tuple[Change, ...]) -> set[State]:
    """What may be there, each rule asked of each pair of changes."""
    done = [
        (op, revision, began, ended if phase == "ok" else 10**9, phase == "ok")
        for op, phase, revision, began, ended in changes
        if phase != "fail"
    ]
    certain = [change for change in done if change[4]]
    states: set[State] = set() if certain else {None}
    for op, revision, began, ended, _ in done:
        if any(late[2] > ended and (late[0] != "add" or op == "delete") for late in certain):
            continue
        if op != "add":
            states.add(None if op == "delete" else revision)
            continue
        for emptied_began, emptied_ended in ((-1, -1), *(c[2:4] for c in done if c[0] == "delete")):
            undoing = [change[2] for change in certain if change[0] != "add"]
            earliest = max(began, emptied_began, *undoing, -1)
            filled = [c for c in certain if c[0] != "delete" and c[2] > emptied_ended]
            if earliest <= ended and all(c[0] == "add" and c[3] >= earliest for c in filled):
                states.add(revision)
    return states


@st.composite
def many_changes_of_one_drawer(draw: st.DrawFn) -> tuple[Change, ...]:
    ends = draw(st.integers(2, 60))
    kinds = st.tuples(st.sampled_from(OPS), st.sampled_from(("ok", "ok", "info", "fail")))
    found: list[Change] = []
    for revision, (op, phase) in enumerate(draw(st.lists(kinds, max_size=40))):
        began = draw(st.integers(0, ends))
        found.append((op, phase, revision // 2, began, draw(st.integers(began, ends + 1))))
    return tuple(found)


@given(many_changes_of_one_drawer())
def test_as_many_calls_as_one_likes_are_judged_by_the_same_rules(
    changes: tuple[Change, ...],
) -> None:
    assert allowed(expect(map(call, changes))) == by_the_rules(changes)


@given(changes_of_one_drawer())
def test_the_rules_allow_what_can_happen_and_no_more(changes: tuple[Change, ...]) -> None:
    assert by_the_rules(changes) == reachable(changes)


# The cases one meets, in words -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "states"),
    [
        ((), {None}),
        ((("add", "fail", 0, 1, 2),), {None}),
        ((("add", "info", 0, 1, 2),), {None, 0}),
        ((("add", "ok", 0, 1, 2), ("add", "ok", 1, 3, 4)), {0}),
        ((("add", "ok", 0, 1, 3), ("add", "ok", 1, 2, 4)), {0, 1}),
        ((("add", "ok", 0, 1, 2), ("upsert", "ok", 1, 3, 4)), {1}),
        ((("add", "ok", 0, 1, 2), ("upsert", "info", 1, 3, 4)), {0, 1}),
        ((("add", "ok", 0, 1, 2), ("upsert", "fail", 1, 3, 4)), {0}),
        ((("add", "ok", 0, 1, 2), ("delete", "ok", 0, 3, 4)), {None}),
        ((("add", "ok", 0, 1, 2), ("delete", "info", 0, 3, 4)), {None, 0}),
        ((("add", "ok", 0, 1, 3), ("delete", "ok", 0, 2, 4)), {None, 0}),
        ((("delete", "ok", 0, 1, 2), ("add", "ok", 0, 3, 4)), {0}),
        ((("delete", "info", 0, 1, 2), ("add", "ok", 0, 3, 4)), {None, 0}),
        ((("add", "ok", 0, 1, 2), ("add", "ok", 1, 2, 3)), {0, 1}),  # one moment has no order
        (
            (("delete", "ok", 0, 0, 2), ("upsert", "ok", 1, 2, 5), ("add", "ok", 2, 3, 6)),
            {1, 2},
        ),
    ],
)
def test_what_may_be_there(changes: tuple[Change, ...], states: set[State]) -> None:
    assert allowed(expect(map(call, changes))) == states


def test_a_refused_or_deleted_drawer_is_known_and_must_not_be_there() -> None:
    expected = expect([call(("add", "fail", 0, 1, 2), first=4, count=2)])
    assert expected == Expectation({}, {}, frozenset({4, 5}))
    assert expected.known == {4, 5}


def test_a_death_in_mid_call_leaves_every_drawer_of_the_call_open() -> None:
    expected = expect([call(("upsert", "info", 3, 1, 1), first=7, count=2, died=True)])
    assert expected == Expectation({}, {7: (3,), 8: (3,)}, frozenset())


def test_only_changes_of_drawers_count() -> None:
    others = ("open", "close", "triple", "opened", "found")
    assert expect([call((op, "ok", 0, 1, 2)) for op in others]).known == frozenset()


def test_a_dead_process_changes_nothing_any_more() -> None:
    killed = call(("upsert", "info", 1, 10, 20), died=True)
    for began, ended in ((31, 40), (29, 40)):
        after_it = call(("upsert", "ok", 2, began, ended))
        unknown = Expectation(must={0: (1, 2)}, may={}, gone=frozenset())
        assert expect([killed, after_it]) == unknown
        certain = Expectation(must={0: (2,)}, may={}, gone=frozenset())
        assert expect([killed, after_it], {"writer": 30}) == (certain if began > 30 else unknown)
        assert expect([killed, after_it], {"other": 30}) == unknown


def test_a_dead_process_may_have_done_it_in_its_last_moment() -> None:
    killed = call(("upsert", "info", 1, 10, 20), died=True)
    deleted = call(("delete", "ok", 0, 12, 14))
    assert expect([killed, deleted], {"writer": 30}).may == {0: (1,)}
