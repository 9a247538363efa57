"""No call of a living process ends in an error, unless the plan lets the library refuse it.

A library that refuses everything would lose nothing: so a refusal counts as a violation wherever
the plan does not expect one.
"""

from __future__ import annotations

from palace_lab.checks.evidence import Evidence, Violation
from palace_lab.checks.signatures import of_error


def check(evidence: Evidence) -> list[Violation]:
    """Report each kind of error that calls ended in, once for each process."""
    violations: dict[tuple[str, str], Violation] = {}
    for call in evidence.calls:
        if call.end is None or call.phase == "ok":
            continue  # a death in mid-call is judged by `exits`
        name = call.begin.process
        if call.phase == "fail" and evidence.plan.process(name).may_refuse:
            continue
        signature = of_error(call.text)
        sentence = f"process {name}, {call.begin.op} number {call.begin.first}: {call.text}"
        violations.setdefault(
            (name, signature),
            Violation("answers", signature, sentence, process=name, time_ns=call.end.time_ns),
        )
    return list(violations.values())
