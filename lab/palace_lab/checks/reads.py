"""What a living process reads agrees with what everybody had been told when it asked.

A process that keeps its index in memory can go on answering from it long after a peer has written.
What a process was given in a list it must find as well, be it a drawer nobody was promised.
Judged are the reads a plan asks for; calls under way at the same time may or may not be seen yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from palace_lab.checks.evidence import Evidence, Violation
from palace_lab.checks.expected import Expectation, expect
from palace_lab.checks.facts import facts_of
from palace_lab.checks.signatures import of_error
from palace_lab.checks.words import some
from palace_lab.history.merge import Call
from palace_lab.plan.model import Plan


def check(evidence: Evidence) -> list[Violation]:
    """Report each kind of read that contradicts what came before it, once for each process."""
    violations: dict[tuple[str, str, str], Violation] = {}
    listed: dict[str, set[int]] = {}
    for call, value in sorted(_reads(evidence), key=lambda read: read[0].begin.time_ns):
        process, op = call.begin.process, call.begin.op
        of_texts = evidence.about_texts(process)
        alike = [
            each for each in evidence.calls if evidence.about_texts(each.begin.process) == of_texts
        ]
        known = _before(call, alike)
        sentences = list(_JUDGES[op](value, known, evidence.plan))
        if op == "listed":
            listed[process] = set(value["numbers"])
        elif op == "found":
            sentences += _given(value, listed.get(process, set()), known)
        for sentence in sentences[:1]:
            said = f"process {process}, asked for {op!r}, {sentence}"
            violations.setdefault((process, op, ""), _violation(call, "stale-read", said))
        for text in value["errors"] if op == "found" else ():
            said = f"process {process} got an error while it searched: {text}"
            signature = of_error(text)
            violations.setdefault((process, op, text), _violation(call, signature, said))
    return list(violations.values())


def _violation(read: Call, signature: str, said: str) -> Violation:
    assert read.end is not None
    name, time_ns = read.begin.process, read.end.time_ns
    return Violation("reads", signature, said, process=name, time_ns=time_ns)


def _reads(evidence: Evidence) -> Iterator[tuple[Call, Any]]:
    """Pair each answer with its call: both are in the order in which the process was asked."""
    answers: dict[tuple[str, str], list[Any]] = {}
    for process, op, value in evidence.answers:
        if op in _JUDGES:
            answers.setdefault((process, op), []).append(value)
    for (process, op), values in answers.items():
        made = [
            call
            for call in evidence.calls
            if (call.begin.process, call.begin.op, call.phase) == (process, op, "ok")
        ]
        # What this palace was asked before this plan began is in the calls, too, and comes first.
        yield from zip(made[-len(values) :], values, strict=True)


def _before(read: Call, calls: Iterable[Call]) -> list[Call]:
    """Return the calls a read may know of; of one that was under way nobody knew the end yet."""
    assert read.end is not None
    return [
        call if call.end and call.end.time_ns < read.begin.time_ns else Call(call.begin, None)
        for call in calls
        if call.begin.time_ns < read.end.time_ns
    ]


def _listed(value: Any, known: list[Call], _: Plan) -> Iterator[str]:
    expected = expect(known)
    allowed = {**expected.may, **expected.must}
    numbers = set(value["numbers"])
    if lost := sorted(set(expected.must) - numbers):
        yield f"was not given {len(lost)} drawers acknowledged before: {some(lost)}"
    if extra := sorted(numbers - set(allowed)):
        yield f"was given {len(extra)} drawers that were deleted or never written: {some(extra)}"
    if twice := sorted(n for n, times in Counter(value["numbers"]).items() if times > 1):
        yield f"was given {len(twice)} drawers more than once: {some(twice)}"
    old = [n for n, revision in value["revisions"] if revision not in allowed.get(n, (revision,))]
    if old:
        yield f"was given texts that had been replaced before, of {len(old)} drawers: {some(old)}"


def _found(value: Any, known: list[Call], _: Plan) -> Iterator[str]:
    expected = expect(known)
    lost = sorted(set(expected.must) & set(value["missing"]))
    if len(lost) > sum(value["errors"].values()):
        yield f"did not find {len(lost)} drawers by their own vectors: {some(lost)}"


def _given(value: Any, listed: set[int], known: list[Call]) -> Iterator[str]:
    deleted = {
        number
        for call in known
        if call.begin.op == "delete" and call.phase != "fail"
        for number in range(call.begin.first, call.begin.first + call.begin.count)
    }
    lost = sorted((listed & set(value["missing"])) - deleted)
    if len(lost) > sum(value["errors"].values()):
        yield f"did not find {len(lost)} drawers that it had been given in a list: {some(lost)}"


def _count(value: Any, known: list[Call], _: Plan) -> Iterator[str]:
    expected = expect(known)
    least, most = _bounds(expected)
    if not least <= value <= most:
        yield f"was told {value}; there were at least {least} and at most {most} drawers"


def _bounds(expected: Expectation) -> tuple[int, int]:
    return len(expected.must), len(expected.must) + len(expected.may)


def _held(value: Any, known: list[Call], plan: Plan) -> Iterator[str]:
    facts, day, held = facts_of(known, plan), value["day"], set(value["held"])
    asked = {number: fact for (_, number), fact in facts.items() if number in value["asked"]}
    if lost := sorted(n for n, fact in asked.items() if fact.must_hold(day) and n not in held):
        yield f"was not told {len(lost)} triples that held on day {day}: {some(lost)}"
    wrong = sorted(n for n in held if n not in asked or not asked[n].may_hold(day))
    if wrong:
        yield f"was told {len(wrong)} triples that did not hold on day {day}: {some(wrong)}"


_JUDGES: dict[str, Callable[[Any, list[Call], Plan], Iterator[str]]] = {
    "listed": _listed,
    "found": _found,
    "count": _count,
    "held": _held,
}
