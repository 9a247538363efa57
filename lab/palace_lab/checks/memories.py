"""Every acknowledged memory is on its machine, and where there is a remote, everywhere, once.

* Without a remote a machine answers for what its own processes were told.
* With one, the plan ends with everybody in sync: every machine and the remote hold the same, and
  what is nowhere is lost. What was parked is excepted, if it says why and the remote did refuse
  that very memory.
* Who deletes a memory deletes it for everybody. Where one machine stores what another deletes at
  about the same time, either may come last.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from palace_lab.checks.evidence import Evidence, Violation, shown_by
from palace_lab.checks.expected import Expectation, expect
from palace_lab.checks.words import some
from palace_lab.history.merge import Call

_OPS = {"memory": "add", "forget": "delete"}


def check(evidence: Evidence) -> list[Violation]:
    """Compare what was read back with what everybody was told."""
    violations: list[Violation] = []
    for seen in evidence.observations:
        listed = seen.value("listed")
        if listed is not None and "machines" in listed:
            violations += shown_by(seen, "listed", _contradictions(evidence, listed))
    return violations


def _contradictions(evidence: Evidence, listed: dict[str, Any]) -> Iterator[Violation]:
    machine_of = {
        name: str(evidence.plan.process(name).options.get("machine", name))
        for name in {call.begin.process for call in evidence.calls}
    }
    told = list(_told(evidence.calls))
    if listed["remote"] is None:
        for name, held in listed["machines"].items():
            own = [call for call in told if machine_of[call.begin.process] == name]
            expected = _expected(own, machine_of)
            yield from _lost(f"on machine {name}", set(held["memories"]), expected)
            yield from _wrong(f"machine {name}", held, expected, own)
        return
    expected = _expected(told, machine_of)
    places = {f"machine {name}": held for name, held in listed["machines"].items()}
    places["the remote"] = listed["remote"]
    anywhere = {number for held in places.values() for number in held["memories"]}
    yield from _lost("anywhere", anywhere, expected)
    for where, held in places.items():
        yield from _wrong(where, held, expected, told)
    yield from _converged(listed)


def _told(calls: Iterable[Call]) -> Iterator[Call]:
    """Yield the calls about memories in the words of drawers, which have the same rules."""
    for call in calls:
        if (op := _OPS.get(call.begin.op)) is not None:
            yield replace(call, begin=replace(call.begin, op=op))


def _expected(told: list[Call], machine_of: dict[str, str]) -> Expectation:
    """Return what must, may and must not be there; looser where machines disagree about one."""
    expected = expect(told)
    must, may, gone = dict(expected.must), dict(expected.may), set(expected.gone)
    calls: dict[int, list[Call]] = defaultdict(list)
    for call in told:
        for number in _numbers(call) if call.phase != "fail" else ():
            calls[number].append(call)
    for number, about in calls.items():
        stored = {machine_of[each.begin.process] for each in about if each.begin.op == "add"}
        deleted = {machine_of[each.begin.process] for each in about if each.begin.op == "delete"}
        # A delete finds what its own machine knows of: of two others it may have known one.
        if deleted and (len(stored) > 1 or (stored != deleted and not _after(about))):
            revisions = must.pop(number, None) or may.pop(number, (0,))
            gone.discard(number)
            may[number] = revisions
    return Expectation(must, may, frozenset(gone))


def _after(about: list[Call]) -> bool:
    """Tell whether every store had ended when the first delete began."""
    first = min(call.begin.time_ns for call in about if call.begin.op == "delete")
    return all(
        call.end is not None and call.end.time_ns < first
        for call in about
        if call.begin.op == "add"
    )


def _numbers(call: Call) -> range:
    return range(call.begin.first, call.begin.first + call.begin.count)


def _lost(where: str, present: set[int], expected: Expectation) -> Iterator[Violation]:
    lost = sorted(set(expected.must) - present)
    if lost:
        said = f"{len(lost)} acknowledged memories are not {where}: {some(lost)}"
        yield Violation("memories", "silent-row-loss", said, tuple(lost))


def _wrong(
    where: str, held: dict[str, Any], expected: Expectation, told: Iterable[Call]
) -> Iterator[Violation]:
    present = set(held["memories"])
    extra = [*sorted(present - set(expected.must) - set(expected.may)), *held["foreign"]]
    twice = sorted(n for n, times in Counter(held["memories"]).items() if times > 1)
    if extra:
        said = f"{len(extra)} memories are on {where} that were deleted, refused or never written"
        yield Violation("memories", "phantom", f"{said}: {some(extra)}")
    if twice:
        said = f"{len(twice)} memories are on {where} more than once: {some(twice)}"
        yield Violation("memories", "duplicate", said, tuple(twice))
    for call in told:
        there = len(set(_numbers(call)) & present)
        if call.begin.op == "add" and call.phase == "info" and 0 < there < call.begin.count:
            said = f"of {call.begin.count} memories of one call {there} are on {where}"
            yield Violation("memories", "half-written", said)
    if held["integrity"] != "ok":
        yield Violation("memories", "sqlite-malformed", f"SQLite of {where}: {held['integrity']}")


def _parked(machines: dict[str, Any]) -> frozenset[int]:
    return frozenset(n for held in machines.values() for n, _ in held["parked"])


def _converged(listed: dict[str, Any]) -> Iterator[Violation]:
    """Compare each machine with the remote, and ask of everything parked why it is."""
    remote = set(listed["remote"]["memories"])
    refused = set(listed["remote"]["refused"])
    parked = _parked(listed["machines"])
    for name, held in listed["machines"].items():
        here = set(held["memories"])
        for what, missing in (
            ("the remote lacks", here - remote - parked),
            (f"machine {name} lacks", remote - here - parked),
            ("are still to be told to the remote", {n for n, _ in held["pending"]}),
        ):
            if missing:
                said = f"machine {name} and the remote differ, {len(missing)} memories {what}"
                numbers = sorted(missing)
                yield Violation("memories", "not-converged", f"{said}: {some(numbers)}")
        wrongly = sorted(n for n, why in held["parked"] if not why or n not in refused)
        if wrongly:
            said = f"machine {name} gave up {len(wrongly)} memories that nobody refused"
            yield Violation("memories", "parked-wrongly", f"{said}: {some(wrongly)}")
