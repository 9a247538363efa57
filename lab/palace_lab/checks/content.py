"""A drawer that is listed has the text it was given last; an older one is old news, told as new."""

from __future__ import annotations

from palace_lab.checks.evidence import Evidence, Violation
from palace_lab.checks.words import some


def check(evidence: Evidence) -> list[Violation]:
    """Compare the texts that observers read with what was acknowledged."""
    violations = []
    for seen in evidence.observations:
        expected = evidence.expected_by(seen.observer)
        allowed = {**expected.may, **expected.must}
        listed = seen.value("listed") or {}
        wrong = {
            number: revision
            for number, revision in listed.get("revisions", ())
            if number in allowed and revision not in allowed[number]
        }
        if wrong:
            number, revision = next(iter(wrong.items()))
            violations.append(
                Violation(
                    "content",
                    "stale-content",
                    f"{len(wrong)} drawers have another text than they were given last, read by a "
                    f"fresh {seen.observer} process: {some(list(wrong))}; {number} has revision "
                    f"{revision}, allowed is {some(allowed[number])}",
                    tuple(wrong),
                    seen.process,
                    seen.when("listed"),
                )
            )
    return violations
