"""Every drawer is listed once, every triple is held once."""

from __future__ import annotations

from collections import Counter

from palace_lab.checks.evidence import Evidence, Violation
from palace_lab.checks.words import some


def check(evidence: Evidence) -> list[Violation]:
    """Report drawers and triples that are there twice."""
    violations = []
    for seen in evidence.observations:
        listed = seen.value("listed") or {}
        twice = sorted(n for n, times in Counter(listed.get("numbers", [])).items() if times > 1)
        triples = Counter(map(tuple, listed.get("triples", [])))
        doubled = sorted(triple for triple, times in triples.items() if times > 1)
        if twice or doubled:
            names = some(twice) if twice else " ".join(doubled[0])
            violations.append(
                Violation(
                    "duplicate",
                    "duplicate",
                    f"{len(twice)} drawers and {len(doubled)} triples are there more than once: "
                    f"{names}",
                    tuple(twice),
                    seen.process,
                    seen.when("listed"),
                )
            )
    return violations
