"""No process of a trial dies by a signal that the lab did not send, and none hangs.

SIGXCPU is the lab's own limit of processor time: a process that used it up is stuck, not crashed.
"""

from __future__ import annotations

import signal

from palace_lab.checks.evidence import Evidence, Violation
from palace_lab.checks.signatures import of_error


def check(evidence: Evidence) -> list[Violation]:
    """Report deaths nobody ordered, and processes that gave no answer."""
    violations = []
    stuck = "hang" if evidence.baseline is None else "writer-stuck"
    for name, ended in evidence.exits.items():
        if ended.signal == signal.SIGXCPU:
            signature = stuck
        elif ended.by_lab or ended.clean:
            continue
        else:
            signature = "writer-signal" if ended.signal is not None else of_error(ended.crash or "")
        sentence = f"process {name} {ended.describe()}"
        violations.append(_violation(evidence, name, signature, sentence))
    for name, op, waited_s in evidence.hangs:
        sentence = f"process {name} gave no answer to {op!r} in {waited_s:.1f} s"
        violations.append(_violation(evidence, name, stuck, sentence))
    return violations


def _violation(evidence: Evidence, name: str, signature: str, sentence: str) -> Violation:
    died_ns = evidence.died_ns.get(name, 0)
    return Violation("exits", signature, sentence, process=name, time_ns=died_ns)
