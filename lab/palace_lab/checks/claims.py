"""Of all that store one content, one is told that it did; the others, that it was there (S3)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

from palace_lab.checks.evidence import Evidence, Violation
from palace_lab.checks.words import some
from palace_lab.history.merge import Call


def check(evidence: Evidence) -> list[Violation]:
    """Report texts that several processes were told they had stored, or none; a delete excuses it.

    A process that did not come to its answer may have stored what it was told nothing of.
    """
    claimed: dict[int, list[str]] = defaultdict(list)
    answered: Counter[str] = Counter()
    for process, op, value in evidence.answers:
        if op == "write" and isinstance(value, dict) and "new" in value:
            answered[process] += value.get("written", 0)
            for number in value["new"]:
                claimed[number].append(process)
    excused = _numbers(evidence.calls, lambda call: call.begin.op == "delete")
    twice = sorted(n for n, by in claimed.items() if len(by) > 1 and n not in excused)
    violations = []
    if twice:
        sentence = (
            f"{len(twice)} texts were stored once, and several processes were told that they had: "
            f"{some(twice)}; {twice[0]} by {' and '.join(claimed[twice[0]])}"
        )
        violations.append(Violation("claims", "told-twice", sentence, tuple(twice)))
    adds = [call for call in evidence.calls if call.begin.op == "add"]
    added: Counter[str] = Counter()
    for call in adds:
        added[call.begin.process] += call.begin.count if call.phase == "ok" else 0
    sure = {process for process, count in answered.items() if added[process] == count}
    told = _numbers(adds, lambda call: call.phase == "ok" and call.begin.process in sure)
    excused |= _numbers(adds, lambda call: call.phase == "info" or call.begin.process not in sure)
    if nobody := sorted(told - claimed.keys() - excused):
        sentence = (
            f"{len(nobody)} texts were stored, and each process was told that they had been there: "
            f"{some(nobody)}"
        )
        violations.append(Violation("claims", "told-by-none", sentence, tuple(nobody)))
    return violations


def _numbers(calls: Iterable[Call], which: Callable[[Call], bool]) -> set[int]:
    """Return the numbers that these of the calls were about."""
    return {
        number
        for call in calls
        if which(call)
        for number in range(call.begin.first, call.begin.first + call.begin.count)
    }
