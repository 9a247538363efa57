"""Rows, vectors, log and watermarks agree, read without chromadb.

Judged after the observers: by then a library that heals has healed. Damage only; a note is none.
"""

from __future__ import annotations

from palace_lab.checks.evidence import SURVEY_AFTER, Evidence, Violation
from palace_lab.checks.words import some

_SIGNATURES = {"watermark-blob": "watermark-blob"}


def check(evidence: Evidence) -> list[Violation]:
    """Report what the files of the palace contradict each other about."""
    survey = evidence.surveys.get("after")
    if survey is None:
        return []
    violations = [
        Violation(
            "agreement",
            _SIGNATURES.get(finding["kind"], "files-disagree"),
            f"{finding['kind']}: {finding['sentence']}",
            process=SURVEY_AFTER,
        )
        for finding in survey.get("findings", ())
        if finding["severity"] == "damage"
    ]
    for name, each in survey.get("collections", {}).items():
        if each["missing_from_index"]:
            missing = each["missing_from_index"]
            violations.append(
                Violation(
                    "agreement",
                    "silent-vector-loss",
                    f"{len(missing)} rows of {name!r} have no vector in the index or in the log "
                    f"above its watermark: {some(missing)}",
                    tuple(missing),
                    SURVEY_AFTER,
                )
            )
    return violations
