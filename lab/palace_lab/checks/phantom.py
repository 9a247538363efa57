"""Nothing is there that nobody wrote, and nothing that was refused or deleted."""

from __future__ import annotations

from palace_lab.checks.evidence import Evidence, Violation
from palace_lab.checks.expected import PROBE_FIRST
from palace_lab.checks.words import some


def check(evidence: Evidence) -> list[Violation]:
    """Report listed drawers that cannot be there."""
    violations = []
    for seen in evidence.observations:
        listed = seen.value("listed")
        if listed is None or "numbers" not in listed:
            continue
        expected = evidence.expected_by(seen.observer)
        allowed = set(expected.must) | set(expected.may)
        phantoms = sorted(n for n in set(listed["numbers"]) - allowed if n < PROBE_FIRST)
        if phantoms or listed["foreign"]:
            names = some(phantoms) or ", ".join(listed["foreign"][:3])
            violations.append(
                Violation(
                    "phantom",
                    "phantom",
                    f"{len(phantoms) + len(listed['foreign'])} drawers are listed that nobody "
                    f"wrote, or that were refused or deleted: {names}",
                    tuple(phantoms),
                    seen.process,
                    seen.when("listed"),
                )
            )
    return violations
