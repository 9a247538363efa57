"""The knowledge graph against a plain-Python model, and a writer that is killed."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from palace_store.fixes import Fixes
from palace_store.triples import (
    BadDateError,
    BadTripleError,
    Triple,
    TripleStore,
)

OFF = Fixes.none()
ALL = Fixes.all()


NAMES = st.sampled_from(["a", "b", "c", "größe", "日本"])
DAYS = st.integers(1, 28).map(lambda day: f"2024-03-{day:02d}")
MOMENTS = DAYS | st.tuples(DAYS, st.integers(0, 23), st.sampled_from(["", "Z", "+02:00"])).map(
    lambda parts: f"{parts[0]}T{parts[1]:02d}:30{parts[2]}"
)


#: What the clock of the stores says: some of these days lie ahead.
NOW = "2024-03-20T12:00:00"


def at(value: str) -> datetime:
    """Read a moment by the standard library, as the model's own idea of time."""
    when = datetime.fromisoformat(value.replace("Z", "+00:00"))
    return when.replace(tzinfo=when.tzinfo or timezone.utc)


class Fact:
    def __init__(self, fact: tuple[str, str, str], since: str | None) -> None:
        self.fact = fact
        self.since = since
        self.ended: str | None = None

    def holds(self, when: str) -> bool:
        begun = self.since is None or at(self.since) <= at(when)
        return begun and (self.ended is None or at(when) < at(self.ended))


class GraphMachine(RuleBasedStateMachine):
    """Two stores on one palace, called in turn, must agree with one list."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.palace = Path(self.folder.name)
        self.stores = [self.opened(fixes) for fixes in (ALL, OFF)]
        self.facts: list[Fact] = []
        self.keys: dict[str, int] = {}

    def opened(self, fixes: Fixes) -> TripleStore:
        return TripleStore(self.palace, fixes=fixes, clock=lambda: at(NOW))

    def teardown(self) -> None:
        for store in self.stores:
            store.close()
        self.folder.cleanup()

    def open_id(self, fact: tuple[str, str, str]) -> int | None:
        found = [n for n, one in enumerate(self.facts) if one.fact == fact and one.ended is None]
        assert len(found) <= 1
        return found[0] + 1 if found else None

    def told(self, fact: tuple[str, str, str], since: str | None) -> int:
        """Return the id of a fact that is told; its beginning moves forward if it lies ahead."""
        found = self.open_id(fact)
        if found is None:
            self.facts.append(Fact(fact, since))
            return len(self.facts)
        known = self.facts[found - 1]
        if known.since is not None and at(known.since) > at(NOW):
            known.since = min(since, known.since, key=at) if since is not None else None
        return found

    @rule(which=st.integers(0, 1), s=NAMES, o=NAMES, since=st.none() | MOMENTS)
    def add(self, which: int, s: str, o: str, since: str | None) -> None:
        expected = self.told((s, "p", o), since)
        assert self.stores[which].add(s, "p", o, valid_from=since) == expected

    @rule(which=st.integers(0, 1), s=NAMES, o=NAMES, key=st.sampled_from("xyz"))
    def add_keyed(self, which: int, s: str, o: str, key: str) -> None:
        fact = (s, "p", o)
        named = self.keys.get(key)
        if named is not None and self.facts[named - 1].fact != fact:
            with pytest.raises(BadTripleError, match="names another triple"):
                self.stores[which].add(*fact, key=key)
            return
        expected = named or self.told(fact, None)
        self.keys[key] = expected
        assert self.stores[which].add(*fact, key=key) == expected

    @rule(which=st.integers(0, 1), rows=st.lists(st.tuples(NAMES, st.just("p"), NAMES), max_size=4))
    def add_many(self, which: int, rows: list[tuple[str, str, str]]) -> None:
        expected = [self.told(row, None) for row in rows]
        assert self.stores[which].add_many(iter(rows)) == expected

    @rule(which=st.integers(0, 1), s=NAMES, o=NAMES, ended=st.none() | MOMENTS)
    def invalidate(self, which: int, s: str, o: str, ended: str | None) -> None:
        if ended is not None and at(ended) > at(NOW):
            with pytest.raises(BadDateError, match="lies ahead"):
                self.stores[which].invalidate(s, "p", o, ended=ended)
            return
        found = self.open_id((s, "p", o))
        if found is None:
            assert self.stores[which].invalidate(s, "p", o, ended=ended) == 0
            return
        fact = self.facts[found - 1]
        if ended is not None and fact.since is not None and at(ended) < at(fact.since):
            with pytest.raises(BadDateError, match="cannot end at"):
                self.stores[which].invalidate(s, "p", o, ended=ended)
            return
        fact.ended = ended or max(NOW, fact.since or NOW, key=at)
        assert self.stores[which].invalidate(s, "p", o, ended=ended) == 1

    @rule(
        which=st.integers(0, 1),
        entity=NAMES,
        when=st.none() | MOMENTS,
        direction=st.sampled_from(["in", "out", "both"]),
    )
    def query(
        self, which: int, entity: str, when: str | None, direction: Literal["in", "out", "both"]
    ) -> None:
        matching = [
            number
            for number, one in enumerate(self.facts, 1)
            if (
                (direction != "in" and one.fact[0] == entity)
                or (direction != "out" and one.fact[2] == entity)
            )
            and (when is None or one.holds(when))
        ]
        first = {self.facts[number - 1].fact: number for number in reversed(matching)}
        expected = matching if when is None else sorted(first.values())
        found = self.stores[which].query(entity, as_of=when, direction=direction)
        assert [triple.id for triple in found] == expected

    @precondition(lambda self: len(self.facts) > 2)
    @rule(which=st.integers(0, 1))
    def reopen(self, which: int) -> None:
        self.stores[which].close()
        self.stores[which] = self.opened(ALL)

    @invariant()
    def both_agree(self) -> None:
        for store in self.stores:
            rows = store.all()
            assert [(t.subject, t.predicate, t.object) for t in rows] == [
                one.fact for one in self.facts
            ]
            dates = [(t.valid_from and at(t.valid_from), t.ended and at(t.ended)) for t in rows]
            assert dates == [
                (one.since and at(one.since), one.ended and at(one.ended)) for one in self.facts
            ]
            assert store.count() == len(self.facts)


TestGraph = GraphMachine.TestCase
TestGraph.settings = settings(
    max_examples=15,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def test_validity_is_half_open(tmp_path: Path) -> None:
    with TripleStore(tmp_path) as store:
        store.add("ada", "works at", "x", valid_from="2024-01-01", source="letter")
        store.invalidate("ada", "works at", "x", ended="2024-02-01T12:00:00+01:00")
        store.add("ada", "works at", "y", valid_from="2024-02-01T11:00Z")

        def at_work(when: str) -> list[str]:
            return [triple.object for triple in store.query("ada", as_of=when)]

        assert at_work("2023-12-31T23:59:59.999999") == []
        assert at_work("2024-01-01") == ["x"]
        assert at_work("2024-02-01T10:59:59.9") == ["x"]
        assert at_work("2024-02-01T11:00:00") == ["y"]
        assert store.all()[0] == Triple(
            1, "ada", "works at", "x", "2024-01-01", "2024-02-01T11:00:00", "letter"
        )


def test_a_fact_may_end_where_it_began_and_then_never_held(tmp_path: Path) -> None:
    with TripleStore(tmp_path) as store:
        store.add("a", "p", "b", valid_from="2024-01-02")
        with pytest.raises(BadDateError, match="begins at 2024-01-02 and cannot end at 2024-01-01"):
            store.invalidate("a", "p", "b", ended="2024-01-01")
        assert store.invalidate("a", "p", "b", ended="2024-01-02") == 1
        assert store.query("a", as_of="2024-01-02") == []


def test_a_fact_ends_by_the_clock(tmp_path: Path) -> None:
    clock = datetime(2024, 5, 6, 9, 0, tzinfo=timezone(timedelta(hours=2)))
    with TripleStore(tmp_path, clock=lambda: clock) as store:
        store.add("a", "p", "b")
        assert store.invalidate("a", "p", "b") == 1
        assert store.invalidate("a", "p", "b") == 0
        assert store.all()[0].ended == "2024-05-06T07:00:00"
        assert store.add("a", "p", "b") == 2


def today() -> datetime:
    return datetime(2024, 5, 6, 9, 0, tzinfo=timezone.utc)


def test_a_fact_ends_by_now_and_not_at_a_moment_that_lies_ahead(tmp_path: Path) -> None:
    with TripleStore(tmp_path, clock=today) as store:
        store.add("a", "p", "b")
        with pytest.raises(BadDateError) as caught:
            store.invalidate("a", "p", "b", ended="2024-05-06T09:00:01Z")
        assert str(caught.value) == (
            "ended: 2024-05-06T09:00:01 lies ahead, it is 2024-05-06T09:00:00 in UTC: leave "
            "'ended' out to end the triple now, or end it when it has ended"
        )
        assert store.invalidate("a", "p", "b", ended="2024-05-06T09:00Z") == 1


def test_a_fact_whose_beginning_lies_ahead_begins_earlier_when_it_is_told_so(
    tmp_path: Path,
) -> None:
    with TripleStore(tmp_path, clock=today) as store:
        assert store.add("a", "p", "b", valid_from="2999-01-01") == 1
        assert store.add("a", "p", "b", valid_from="2999-06-01") == 1
        assert store.all()[0].valid_from == "2999-01-01"
        assert store.add("a", "p", "b") == 1
        assert [triple.id for triple in store.query("a", as_of="2024-05-06")] == [1]
        assert store.add("a", "p", "b", valid_from="2000-01-01") == 1
        assert store.all() == [Triple(1, "a", "p", "b", None, None, None)]  # it holds: unchanged


def test_a_fact_whose_beginning_lies_ahead_can_be_taken_back(tmp_path: Path) -> None:
    with TripleStore(tmp_path, clock=today) as store:
        store.add("a", "p", "b", valid_from="2999-01-01")
        assert store.invalidate("a", "p", "b") == 1
        assert store.query("a", as_of="2999-01-01") == []
        assert store.invalidate("a", "p", "b") == 0


def test_a_fact_is_shown_once_at_a_moment_however_often_it_was_told(tmp_path: Path) -> None:
    with TripleStore(tmp_path, clock=today) as store:
        store.add("a", "p", "b", valid_from="2020-01-01")
        store.invalidate("a", "p", "b", ended="2023-01-01")
        assert store.add("a", "p", "b") == 2
        assert [triple.id for triple in store.query("a", as_of="2021-01-01")] == [1]
        assert [triple.id for triple in store.query("a", as_of="2024-01-01")] == [2]
        assert [triple.id for triple in store.query("a")] == [1, 2]


WRITER = """
import sys
from pathlib import Path
from palace_store.fixes import Fixes
from palace_store.triples import TripleStore

store = TripleStore(Path(sys.argv[1]), fixes=Fixes.parse(sys.argv[2].split()))
for n in range(100_000):
    print("invoke", n, flush=True)
    store.add(f"s{n}", "p", f"o{n}")
    print("ok", n, flush=True)
"""


@pytest.mark.parametrize("fixes", [OFF, ALL], ids=["off", "all"])
def test_a_killed_writer_keeps_what_was_acknowledged(tmp_path: Path, fixes: Fixes) -> None:
    lines = []
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), " ".join(fixes.words())],
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            lines.append(line.split())
            if len(lines) == 75:
                child.kill()
    acknowledged = [int(n) for what, n in lines if what == "ok"]
    invoked = [int(n) for what, n in lines if what == "invoke"]
    assert len(acknowledged) >= 37
    with TripleStore(tmp_path) as store:
        found = [int(triple.object[1:]) for triple in store.all()]
    assert found == list(range(len(found)))  # a prefix, no hole
    assert set(acknowledged) <= set(found)
    # The last line may have been cut off by the kill together with what came after it.
    assert len(found) <= len(invoked) + 1
