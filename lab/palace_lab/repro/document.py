"""A diagnosis as one JSON object; docs/diagnose.md says what each field is.

Rules. `FORMAT` is raised when a field changes its meaning or goes; new fields may come at any time.
A field that is not known is null, never left out.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from palace_lab.repro.diagnosis import Diagnosis, Finding

#: The version of the object, its field `diagnosis`.
FORMAT = 1


def document(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return the whole diagnosis as data for `json.dumps`."""
    reading = diagnosis.reading
    return {
        "diagnosis": FORMAT,
        "palace": str(diagnosis.palace),
        "verdict": diagnosis.verdict,
        "readings": diagnosis.readings,
        "holders": {
            "processes": [asdict(each) for each in diagnosis.holders.processes],
            "not_looked_at": diagnosis.holders.not_looked_at,
        },
        "written_by": {
            "opened_by": None if reading.opened is None else asdict(reading.opened),
            "rows": reading.rows_by,
            "palace_store": None if reading.store is None else asdict(reading.store),
        },
        "size": dict(reading.weight),
        "databases": [asdict(each) for each in reading.databases],
        "collections": [asdict(each) for each in reading.collections],
        "set_aside": list(reading.set_aside),
        "strays": list(reading.strays),
        "findings": [_finding(each, diagnosis.palace) for each in diagnosis.findings],
    }


def _finding(finding: Finding, palace: Path) -> dict[str, Any]:
    return {
        **asdict(finding.claim),
        "stands": finding.stands,
        "cause": finding.advice.cause,
        "scenario": finding.advice.scenario or None,
        "remedy": finding.advice.remedy,
        "command": finding.advice.command(palace),
        "mend": finding.advice.mending(palace),
    }
