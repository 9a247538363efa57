"""Reading a palace without chromadb, in a process of its own: the lab's outside view."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from palace_lab.targets.base import Context, Target
from palace_lab.workloads.vectors import drawer_number
from palace_store.anatomy import survey


class AnatomyTarget(Target):
    """Surveys one palace; never writes to it."""

    def survey(self) -> dict[str, Any]:
        """Return what rows, index, log and watermarks say, and what the palace weighs in bytes."""
        found = survey(self.context.palace)
        findings = [
            {"kind": item.kind, "severity": item.severity, "sentence": item.sentence}
            for item in found.findings
        ]
        collections = {
            each.name: {
                "rows": _numbers(each.ids),
                "missing_from_index": _numbers(each.missing_from_index),
                "unrecoverable": _numbers(each.unrecoverable),
                "index_only": _numbers(each.index_only),
                "in_index_file": len(each.index_ids),
                "log_complete": each.log_complete,
            }
            for each in found.collections
        }
        return {
            "findings": findings,
            "collections": collections,
            "set_aside": len(found.set_aside),
            **weigh(self.context.palace),
        }


def weigh(palace: Path) -> dict[str, int]:
    """Return the apparent and the allocated size of everything in the palace, in bytes."""
    apparent = allocated = 0
    for directory, _, names in os.walk(palace):
        for name in names:
            try:
                status = os.lstat(os.path.join(directory, name))  # noqa: PTH118  (os.walk gives text)
            except FileNotFoundError:
                continue  # a living writer took a journal away
            apparent += status.st_size
            allocated += 512 * status.st_blocks
    return {"apparent_bytes": apparent, "allocated_bytes": allocated}


def _numbers(ids: Any) -> list[int]:
    return sorted(number for number in map(drawer_number, ids) if number is not None)


def target(context: Context) -> AnatomyTarget:
    """Return the target for the worker loop."""
    return AnatomyTarget(context)
