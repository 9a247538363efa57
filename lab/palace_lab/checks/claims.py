"""Of all that store one content, one is told that it did; the others, that it was there (S3)."""

from __future__ import annotations

from collections import defaultdict

from palace_lab.checks.evidence import Evidence, Violation
from palace_lab.checks.words import some


def check(evidence: Evidence) -> list[Violation]:
    """Report texts that several processes were told they had stored; a delete excuses it."""
    claimed: dict[int, list[str]] = defaultdict(list)
    for process, op, value in evidence.answers:
        if op == "write" and isinstance(value, dict):
            for number in value.get("new", ()):
                claimed[number].append(process)
    deleted = {
        number
        for call in evidence.calls
        if call.begin.op == "delete"
        for number in range(call.begin.first, call.begin.first + call.begin.count)
    }
    twice = sorted(n for n, by in claimed.items() if len(by) > 1 and n not in deleted)
    if not twice:
        return []
    sentence = (
        f"{len(twice)} texts were stored once, and several processes were told that they had: "
        f"{some(twice)}; {twice[0]} by {' and '.join(claimed[twice[0]])}"
    )
    return [Violation("claims", "told-twice", sentence, tuple(twice))]
