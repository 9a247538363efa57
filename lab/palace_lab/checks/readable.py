"""A fresh process opens, reads and writes the palace; its death or its error is a finding.

One that does not answer is *stuck* where a healthy palace of that size was measured in the same
run, which is what its deadline comes from; without such a measure it is only the lab's time-out.
The same goes for one that the lab's own limit of processor time ended: that signal is no crash.
"""

from __future__ import annotations

from palace_lab.checks.evidence import Evidence, Look, Observation, Violation
from palace_lab.checks.signatures import of_error


def check(evidence: Evidence) -> list[Violation]:
    """Report observers that died, hung, or were answered with an error."""
    violations = []
    for seen in evidence.observations:
        for look in seen.looks:
            if look.phase != "ok":
                violations.append(_violation(evidence, seen, look))
            elif errors := _errors(seen, look):
                text, times = max(errors.items(), key=lambda item: item[1])
                violations.append(
                    Violation(
                        "readable",
                        of_error(text),
                        f"a fresh {seen.observer} process got {times} "
                        f"{'error' if times == 1 else 'errors'} while it searched: {text}",
                        process=seen.process,
                        time_ns=look.ended_ns,
                    )
                )
    return violations


def _errors(seen: Observation, look: Look) -> dict[str, int]:
    """Return the errors of an answer, without those that were a matter of one process's graph.

    0.x refuses a search for all drawers where its graph, which each process builds for itself, does
    not reach all. So that counts if another process is refused as well.
    """
    errors = look.value.get("errors", {}) if isinstance(look.value, dict) else {}
    if look.stage == "found" and seen.value("found-again") is not None:
        return {text: n for text, n in errors.items() if of_error(text) != "search-refused"}
    return dict(errors)


def _violation(evidence: Evidence, seen: Observation, look: Look) -> Violation:
    where = f"a fresh {seen.observer} process, asked for {look.stage!r},"
    stuck = "hang" if evidence.baseline is None else "reader-stuck"
    if look.phase == "died":
        ended = seen.ended
        how = "ended" if ended is None else ended.describe()
        if ended is not None and ended.signal is not None:
            signature = stuck if ended.by_lab else "reader-signal"
        else:
            signature = of_error(look.error)
        said = f"{where} {how}"
    elif look.phase == "hung":
        signature, said = stuck, f"{where} gave no answer in {look.seconds:.1f} s"
    else:
        signature, said = of_error(look.error), f"{where} was told: {look.error}"
    return Violation("readable", signature, said, process=seen.process, time_ns=look.ended_ns)
