"""Whatever a writer was told is stored is listed. What must not be there is judged by `phantom`."""

from __future__ import annotations

from palace_lab.checks.evidence import Evidence, Violation
from palace_lab.checks.words import some


def check(evidence: Evidence) -> list[Violation]:
    """Compare what observers list with what was acknowledged."""
    violations = []
    for seen in evidence.observations:
        listed = seen.value("listed")
        if listed is None or "numbers" not in listed:
            continue
        present = set(listed["numbers"])
        expected = evidence.expected_by(seen.observer)
        lost = sorted(number for number in expected.must if number not in present)
        if lost:
            violations.append(
                Violation(
                    "durable",
                    "silent-row-loss",
                    f"{len(lost)} acknowledged drawers are not listed by a fresh "
                    f"{seen.observer} process: {some(lost)}",
                    tuple(lost),
                    seen.process,
                    seen.when("listed"),
                )
            )
    return violations
