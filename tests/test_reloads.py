"""S2, bug 2: how often three servers of one palace open the index anew, by the rule they go by.

`pytest tests/test_reloads.py -m nightly -s` prints the numbers of docs/s2-measured.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import pytest

from palace_lab.environments import ensure
from palace_lab.plan import Plan
from palace_lab.plan.clients import NAMES
from palace_lab.plan.model import Process, Shape
from palace_lab.plan.steps import Alternate, AnyStep, Close, Do, Together, write
from palace_lab.runner.arena import Arena
from palace_lab.runner.trial import run_trial
from palace_store.fixes import Fixes

pytestmark = [pytest.mark.slow, pytest.mark.s2, pytest.mark.nightly]

RELEASE = "1.5.9"
#: The report's interval between two looks.
EVERY_S = 5.0
EACH = 10
#: How the three write: in strict turns, all at the same moment, one of them alone.
HOW = ("in turn", "at once", "alone")


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    with Arena([ensure(RELEASE)], scratch_root=None) as found:
        yield found


def plan_of(policy: str) -> Plan:
    """Return the plan in the reported topology; nothing is flushed, all other fixes are on."""
    words = [*Fixes.all().without("generation").words(), policy]
    options = {"transport": "proxy"}
    work: tuple[AnyStep, ...] = (
        Alternate(NAMES, rounds=EACH, batch=1),
        Together(tuple(write(name, EACH, first=1000 * n) for n, name in enumerate(NAMES, 1))),
        write(NAMES[0], EACH, first=9000, batch=1),
    )
    asked = [Do(name, "status") for name in NAMES]
    steps: list[AnyStep] = [write(name, 1, first=8000 + n) for n, name in enumerate(NAMES)]
    for step in work:
        steps += [*asked, *asked, step]  # the first counts drawers, and may reload for that
    return Plan(
        release=RELEASE,
        fixes=tuple(Fixes.parse(words).words()),
        shape=Shape(sync_threshold=1000, batch_size=100, embedded=True),
        processes=tuple(Process(name, target="mcp", options=options) for name in NAMES),
        steps=(*steps, *asked, *(Close(name) for name in NAMES)),
        observers=(),
    )


@pytest.mark.parametrize(
    "policy", ["generation=eager", "generation=interval", "generation=reported", "generation"]
)
def test_reloads_of_three_servers_on_one_palace(arena: Arena, policy: str) -> None:
    trial = run_trial(arena, plan_of(policy))
    assert not trial.lab_error
    assert trial.violations == []
    told = defaultdict(list)
    for name, op, answer in trial.outcome.answers:
        if op == "status":
            told[name].append(answer["value"]["reloads"])
    counted = {
        how: sum(each[2 * n + 2] - each[2 * n + 1] for each in told.values())
        for n, how in enumerate(HOW)
    }
    calls = {how: EACH * (1 if how == "alone" else len(NAMES)) for how in HOW}
    rates = {how: counted[how] / calls[how] for how in HOW}
    seconds = (trial.events[-1].time_ns - trial.events[0].time_ns) / 1e9
    said = ", ".join(f"{how} {rate:.1f}" for how, rate in rates.items())
    print(f"\n{RELEASE} {policy}: reloads a write: {said}; {seconds:.0f} s in all")
    if policy == "generation=eager":
        assert rates["in turn"] >= 1.0
        assert rates["alone"] >= 1.0  # its own writes change the time, too
    elif policy == "generation":
        assert counted["in turn"] == calls["in turn"] - 1  # the first write has missed nothing
        assert 0.0 < rates["at once"] <= 1.0
        assert rates["alone"] == 0.0
    else:
        assert sum(counted.values()) <= len(NAMES) * (1 + seconds / EVERY_S)
