"""Every acknowledged drawer is found by its own vector.

`count()`, `get()` and `PRAGMA integrity_check` all say yes on a ruined palace; only a search by
each drawer's own vector does not. A drawer counts as lost to search only if it is not among its
own nearest 100 either; whether the index file, read without chromadb, still has its vector is
said beside it. Drawers whose queries failed loudly are left to `readable`: each such drawer stands
behind at least one counted error, so only more missing drawers than errors are a silent loss.
What a raw process misses another one was asked for, and only what both miss counts (`observe`).
"""

from __future__ import annotations

from typing import Any

from palace_lab.checks.evidence import Evidence, Observation, Violation
from palace_lab.checks.words import some


def check(evidence: Evidence) -> list[Violation]:
    """Report acknowledged drawers that searches do not find."""
    violations = []
    for seen in evidence.observations:
        for stage in ("found", "found-new"):
            answer = seen.value(stage)
            again = seen.value("found-again") if stage == "found" else None
            if answer is not None and again is not None:
                answer = {**answer, "missing": again["missing"], "errors": again["errors"]}
            if answer is None or len(answer["missing"]) <= sum(answer["errors"].values()):
                continue
            violations.append(_violation(evidence, seen, stage, answer))
    return violations


def _violation(
    evidence: Evidence, seen: Observation, stage: str, answer: dict[str, Any]
) -> Violation:
    missing = answer["missing"]
    what = "drawers written just now" if stage == "found-new" else "acknowledged drawers"
    listed = seen.value("listed") or {"numbers": []}
    rows = len(set(missing) & set(listed["numbers"]))
    return Violation(
        "findable",
        "silent-vector-loss",
        f"{len(missing)} of {answer['looked_up']} {what} are not found by their own vector in a "
        f"fresh {seen.observer} process ({rows} of them are listed all the same): {some(missing)}"
        f"{_index_file(evidence, missing)}",
        tuple(missing),
        seen.process,
        seen.when(stage),
    )


def _index_file(evidence: Evidence, missing: list[int]) -> str:
    collections = evidence.surveys.get("after", {}).get("collections", {})
    absent = {number for each in collections.values() for number in each["missing_from_index"]}
    if not collections:
        return ""
    gone = len(absent & set(missing))
    return f"; the index files hold no vector for {gone} of them, read without chromadb"
