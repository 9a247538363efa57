"""A palace opens about as fast, and weighs about as much, as a healthy one of its size.

Compared with a healthy palace of that size in the same run, so the machine's speed cancels out.
The bounds are wide on purpose: they catch gigabytes allocated for 30 drawers and opens that take
half a minute (both measured on torn index files), not a slow disk. A process that did not answer
everything is judged by `readable`.
"""

from __future__ import annotations

from palace_lab.checks.evidence import SURVEY_AFTER, Evidence, Violation

_TIMES_SLOWER = 20.0
_GRACE_S = 3.0
_TIMES_LARGER = 20
_GRACE_BYTES = 32 * 1024 * 1024


def check(evidence: Evidence) -> list[Violation]:
    """Report an observer that took far longer, and a palace that weighs far more."""
    if evidence.baseline is None:
        return []
    violations = []
    for seen in evidence.observations:
        healthy_s = evidence.baseline.seconds.get(seen.observer)
        took_s = sum(look.seconds for look in seen.looks)
        if any(look.phase != "ok" for look in seen.looks):
            continue
        if healthy_s is not None and took_s > _GRACE_S + _TIMES_SLOWER * healthy_s:
            violations.append(
                Violation(
                    "bounded",
                    "slow-open",
                    f"a fresh {seen.observer} process took {took_s:.1f} s; a healthy palace of "
                    f"this size took {healthy_s:.1f} s in the same run",
                    process=seen.process,
                )
            )
    survey = evidence.surveys.get("after", {})
    healthy = evidence.baseline.allocated_bytes
    for what in ("allocated", "apparent"):  # a sparse file fills no disk, but whoever copies it
        weight = survey.get(f"{what}_bytes")
        if weight is not None and weight > _GRACE_BYTES + _TIMES_LARGER * healthy:
            violations.append(
                Violation(
                    "bounded",
                    "bloated",
                    f"the palace has {weight} bytes ({what}); a healthy one of its size took "
                    f"{healthy} in the same run",
                    process=SURVEY_AFTER,
                )
            )
            break
    return violations
