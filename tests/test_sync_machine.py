"""Two machines, one remote, any order of what users do and of what goes wrong; then all is healed.

The model knows only what was acknowledged: words that one machine alone ever touched are where it
left them, as it left them; words that several touched may be there or not, but once, and the same
everywhere. What a program without keys stores may be at the remote twice, and is here once. Another
remote, or an older state of this one, takes nothing away; what was deleted may come back with it.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from remote_bench import ALL, World

from palace_lab.targets.memory_files import words_of
from palace_lab.targets.wire import What
from palace_store.fixes import Fixes
from palace_store.local.memory import DEFAULT_NAMESPACE, id_of
from palace_store.sync.push import ATTEMPTS_MAX

pytestmark = pytest.mark.s4

NAMES = st.sampled_from(["a", "b"])
#: Few, so that both machines come upon the same.
NUMBERS = st.integers(0, 7)
VERSIONS = itertools.count(1)
WIRE: st.SearchStrategy[What] = st.sampled_from(["lose-reply", "cut-reply", "cut-request"])
KEYS = st.sampled_from(["right", "wrong"])


class SyncMachine(RuleBasedStateMachine):
    """See the module's docstring; `fixes` are those of both machines."""

    fixes: ClassVar[Fixes] = ALL
    happened: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.world = World(Path(self.folder.name) / "world")
        self.machines = {name: self.world.machine(name, self.fixes, 0.02) for name in ("a", "b")}
        self.told: dict[int, dict[str, bool]] = {}  # number: machine: is it there
        self.versions: dict[int, int] = {}  # number: metadata it was stored with last
        self.forgotten: set[int] = set()
        self.blurred = False  # what was forgotten may be about still, with the metadata it had
        self.backup: Path | None = None

    @rule(name=NAMES, n=NUMBERS)
    def remember(self, name: str, n: int) -> None:
        told = self.told.setdefault(n, {})
        if not told.get(name):
            self.versions[n] = next(VERSIONS)
        self.machines[name].store.store(words_of(n), metadata={"version": self.versions.get(n, 0)})
        told[name] = True

    @rule(name=NAMES, n=NUMBERS)
    def forget(self, name: str, n: int) -> None:
        if self.machines[name].store.delete(id_of(DEFAULT_NAMESPACE, words_of(n))):
            self.told.setdefault(n, {})[name] = False
            self.forgotten.add(n)

    @rule(name=NAMES, n=NUMBERS)
    def remember_anew(self, name: str, n: int) -> None:
        self.forget(name, n)
        self.remember(name, n)

    @rule(name=NAMES, full=st.sampled_from([None, True]))
    def sync(self, name: str, full: bool | None) -> None:
        self.machines[name].engine.sync(full=full)

    @rule(name=NAMES)
    def push(self, name: str) -> None:
        self.machines[name].engine.push()

    @rule(n=NUMBERS)
    def put_by_a_program_without_keys(self, n: int) -> None:
        self.world.remote.put(first=n)
        self.told.setdefault(n, {})["program"] = True

    @rule()
    def exchange(self) -> None:
        self.world.exchange()
        self.happened["exchanged"] += 1
        self.backup = None
        self.blur()

    @rule()
    def back_up(self) -> None:
        self.backup = self.world.back_up()

    @rule()
    def restore(self) -> None:
        if self.backup is not None:
            self.world.restore(self.backup, told=True)
            self.happened["restored"] += 1
            self.blur()

    def blur(self) -> None:
        """Know nothing more of what may come back, or was only at the remote."""
        for told in self.told.values():
            if "program" in told or not all(told.values()):
                told |= {"before": True, "after": False}
        self.blurred = True

    @rule(name=NAMES)
    def reopen(self, name: str) -> None:
        self.machines[name].reopen()

    # Each of these does something while harm is done, so that the harm comes to pass.

    @rule(name=NAMES, n=NUMBERS, what=WIRE, times=st.integers(1, 2))
    def tell_over_a_bad_wire(self, name: str, n: int, what: What, times: int) -> None:
        self.remember(name, n)
        self.world.remote.fault(what=what, where="POST /memories", times=times)
        self.push(name)

    @rule(name=NAMES, n=NUMBERS, what=WIRE)
    def forget_over_a_bad_wire(self, name: str, n: int, what: What) -> None:
        self.forget(name, n)
        self.world.remote.fault(what=what, where="DELETE /memories")
        self.push(name)

    @rule(name=NAMES, what=WIRE, full=st.sampled_from([None, True]))
    def pull_over_a_bad_wire(self, name: str, what: What, full: bool | None) -> None:
        self.world.remote.fault(what=what, where="GET /changes")
        self.sync(name, full)

    @rule(name=NAMES, rounds=st.integers(1, ATTEMPTS_MAX + 1))
    def sync_in_an_outage(self, name: str, rounds: int) -> None:
        self.world.remote.refuse_connections()
        for _ in range(rounds):
            self.happened["away"] += self.machines[name].engine.sync().away
        self.world.remote.listen()

    @rule(
        name=NAMES,
        n=NUMBERS,
        status=st.sampled_from([422, 500, 503]),
        rounds=st.integers(1, ATTEMPTS_MAX + 1),
    )
    def tell_what_is_refused(self, name: str, n: int, status: int, rounds: int) -> None:
        self.world.remote.answer(first=n, status=status)
        self.remember(name, n)
        for _ in range(rounds):
            self.push(name)
        self.happened["parked"] += len(self.machines[name].engine.parked())

    @rule(name=NAMES, n=NUMBERS, full=st.sampled_from([None, True]))
    def pull_a_malformed_row(self, name: str, n: int, full: bool | None) -> None:
        self.world.remote.malform(first=n)
        self.sync(name, full)

    @rule(name=NAMES, denial=st.sampled_from([401, 403]), key=KEYS)
    def sync_with_a_key(self, name: str, denial: int, key: str) -> None:
        self.world.remote.take_key(key="right", denial=denial)
        self.machines[name].key = key
        for _ in range(2):
            self.happened["denied"] += self.machines[name].engine.sync().denied

    @rule()
    def heal(self) -> None:
        self.world.remote.heal()

    @invariant()
    def whoever_is_asked_knows_what_it_was_told_last(self) -> None:
        for name, machine in self.machines.items():
            here = set(machine.words())
            for n, told in self.told.items():
                if set(told) == {name}:
                    assert (words_of(n) in here) == told[name], (name, n)

    def teardown(self) -> None:
        """Judge the example, unless it failed already or Hypothesis gave it up."""
        try:
            if sys.exc_info()[0] is None:
                self.converge()
        finally:
            self.world.close()
            self.folder.cleanup()

    def converge(self) -> None:
        """End all harm, let everybody tell each other, and compare."""
        self.happened.update(self.world.remote.heal())
        self.world.remote.take_key(key="right")
        for name, machine in self.machines.items():
            machine.key = "right"
            machine.reopen()
            for parked in machine.engine.parked():
                assert parked.reason, (name, parked)
                assert parked.attempts >= ATTEMPTS_MAX
            self.machines[name].engine.retry_parked()
        for name, _ in itertools.product(("a", "b", "a", "b"), range(2)):
            self.machines[name].engine.sync()
        read = self.world.read()
        there = read["remote"]["memories"]
        twice = {n for n, times in Counter(there).items() if times > 1}
        for n in twice:
            assert "program" in self.told[n], ("more than once", n)
        for name, held in read["machines"].items():
            assert held["memories"] == sorted(set(there)), name
            assert (held["pending"], held["parked"], held["foreign"]) == ([], [], [])
        for n, told in self.told.items():
            if len(set(told.values())) == 1:
                assert (n in there) == all(told.values()), (n, told)
            as_left = not (self.blurred and n in self.forgotten) and "program" not in told
            if n in there and len(told) == 1 and as_left:
                assert self.read_versions(n) == {self.versions[n]}, n

    def read_versions(self, n: int) -> set[object]:
        """Return the metadata of a memory, wherever it is."""
        rows = self.world.remote._own().rows("NOT deleted AND content = ?", (words_of(n),))
        found = {json.loads(row[4])["version"] for row in rows}
        for machine in self.machines.values():
            memory = machine.store.get(id_of(DEFAULT_NAMESPACE, words_of(n)))
            found.add(memory.metadata["version"] if memory else None)
        return found


def explore(fixes: Fixes, examples: int, steps: int) -> Counter[str]:
    """Try so many examples; returns how often each harm came to pass."""
    happened: Counter[str] = Counter()
    machine = type("Machine", (SyncMachine,), {"fixes": fixes, "happened": happened})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    return happened


def test_two_machines_and_a_remote_converge() -> None:
    happened = explore(ALL, examples=25, steps=16)
    print(dict(happened))
    assert {"lose-reply", "cut-reply", "cut-request", "away", "parked", "denied"} <= set(+happened)
    assert {"exchanged", "restored"} <= set(+happened)


@pytest.mark.nightly
def test_two_machines_and_a_remote_converge_at_length() -> None:
    explore(ALL, examples=500, steps=30)


def test_without_a_fix_the_machine_finds_what_is_lost() -> None:
    """It can fail: here a resync deletes whatever the remote has not heard of yet."""
    with pytest.raises(AssertionError):
        explore(ALL.without("sync_tombstones"), examples=60, steps=14)
