"""The neighbours a living process is given are of its own model, or it is refused (S3)."""

from __future__ import annotations

from palace_lab.checks.evidence import Evidence, Violation
from palace_lab.checks.words import some


def check(evidence: Evidence) -> list[Violation]:
    """Report searches that compared vectors of two models, once for each process."""
    violations: dict[str, Violation] = {}
    for process, op, value in evidence.answers:
        if op != "neighbours" or not (value["astray"] or value["foreign"]):
            continue
        wrong = sorted({*value["astray"], *value["foreign"]})
        sentence = (
            f"process {process} searched by {value['asked']} texts that are there: "
            f"{len(value['astray'])} did not find themselves first, {len(value['foreign'])} got a "
            f"neighbour at a distance their model does not give: {some(wrong)}"
        )
        violations.setdefault(
            process, Violation("neighbours", "mixed-models", sentence, tuple(wrong), process)
        )
    return list(violations.values())
