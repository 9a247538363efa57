"""Ablation: every scenario's fixed arm is run again with a fix off, and once with none off.

Rules:
- A fix of the knowledge graph is tried on plans that have one, one of embedding on plans with
  texts, one of memories on plans with memories, one of sync on plans with a remote, one of the
  server on plans with servers, and the others on plans with drawers, which texts are.
- The trials of all removals have the same seeds, so that they differ in the fixes alone.
- A race counts its trials like any other plan: what it shows, it shows; what not, with its n.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations, product

from palace_lab.catalog import Listed
from palace_lab.judge.ablation import CONTROL, Removal, Spot
from palace_lab.judge.results import RunResult, TrialRecord
from palace_lab.plan.model import Plan
from palace_lab.scenario import Scenario, Size
from palace_store.fixes import KNOWN

_TEXTS = frozenset({"texts"})
_SERVERS = frozenset({"mcp", "mcp_cut"})
#: By the first word of a fix: the targets that have what it is for. Any other is of drawers.
_TARGETS = {
    "kg": frozenset({"triples", "mixed"}),
    "embedding": _TEXTS,
    "local": frozenset({"memories", "agent"}),
    "sync": frozenset({"agent"}),
    "stale": _SERVERS,
    "refuse": _SERVERS,
    "self": _SERVERS,
}
_DRAWERS = frozenset({"palace", "mixed"}) | _TEXTS
#: Fixes of memories and of sync may stand in for each other.
_KINDS = {
    "kg": "graph",
    "embedding": "texts",
    "local": "memories",
    "sync": "memories",
    "stale": "server",
    "refuse": "server",
    "self": "server",
}


def concerns(fix: str, plan: Plan) -> bool:
    """Tell whether a plan has what a fix is for."""
    targets = {plan.target, *(process.target for process in plan.processes)}
    return bool(targets & _TARGETS.get(_word(fix), _DRAWERS))


def singles(fixes: Iterable[str]) -> list[Removal]:
    """Return the control, and each fix alone."""
    return [CONTROL, *((fix,) for fix in fixes)]


def couples(idle: Sequence[str], others: Iterable[str] = ()) -> list[Removal]:
    """Return every pair of fixes that may stand in for each other, of these or with one other."""
    pairs = [*combinations(idle, 2), *product(idle, (fix for fix in others if fix not in idle))]
    return [pair for pair in pairs if len({_KINDS.get(_word(fix)) for fix in pair}) == 1]


def partners(idle: Sequence[str], tried: Sequence[str]) -> list[str]:
    """Return the fixes that were not tried and may stand in for one of these."""
    left = [fix for fix in KNOWN if fix not in tried]
    kinds = {_KINDS.get(_word(fix)) for fix in idle}
    return [fix for fix in left if _KINDS.get(_word(fix)) in kinds]


def without(listed: Iterable[Listed], removals: Sequence[Removal]) -> list[Listed]:
    """Return a scenario for each scenario and removal that concerns it: its `off` arm is that."""
    return [
        replace(
            each,
            name=_name(each.name, removed),
            scenario=_ablated(each.scenario, removed),
            seeded_as=each.name,
        )
        for each in listed
        for removed in removals
        if all(concerns(fix, _any_plan(each)) for fix in removed)
    ]


def gather(listed: Iterable[Listed], removals: Sequence[Removal], result: RunResult) -> list[Spot]:
    """Read a finished run of `without` the same scenarios and removals."""
    meant = {
        _name(each.name, removed): (each.name, removed) for each in listed for removed in removals
    }
    spots = []
    for row in result.rows:
        scenario, removed = meant[row.scenario]
        arm = row.arm("off")
        trials: Sequence[TrialRecord] = () if arm is None else arm.trials
        failed = [each for each in trials if each.signature is not None and not each.lab_error]
        trouble = next((each.lab_error for each in trials if each.lab_error), row.refused)
        names = tuple(sorted({str(each.signature) for each in failed}))
        tried = sum(not each.lab_error for each in trials)
        spots.append(Spot(scenario, row.release, removed, len(failed), tried, names, trouble))
    return spots


def all_fixes() -> list[str]:
    """Return the names of all fixes, in the order the library lists them."""
    return list(KNOWN)


def _word(fix: str) -> str:
    return fix.partition("_")[0]


def _name(scenario: str, removed: Removal) -> str:
    words = [fix.replace("_", "-") for fix in removed]
    return f"{scenario}-without-{'-and-'.join(words) or 'nothing'}"


def _ablated(scenario: Scenario, removed: Removal) -> Scenario:
    return replace(
        scenario,
        off=scenario.fixed.without(*removed),
        as_reported=None,
        wrong=None,
        probability=None,
    )


def _any_plan(listed: Listed) -> Plan:
    scenario = listed.scenario
    return scenario.plan_for(scenario.arms()[-1], "", 0, Size(), listed.name)
