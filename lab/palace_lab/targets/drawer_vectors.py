"""Whose vectors the drawers of memory servers have: `vectors`, for the drawers of a plan (S3).

Each drawer has the text of its first revision, as no tool of a server changes one.
"""

from __future__ import annotations

from palace_lab.targets.base import Context
from palace_lab.targets.vectors import VectorsTarget
from palace_lab.workloads.vectors import document, drawer_id


class DrawerVectorsTarget(VectorsTarget):
    """Reads the vectors of one palace's drawers; never writes to it."""

    COLLECTION = "drawers"

    def id_of(self, number: int) -> str:
        """Return the id of a drawer."""
        return drawer_id(number)

    def text_of(self, number: int) -> str:
        """Return the text of a drawer."""
        return document(number)


def target(context: Context) -> DrawerVectorsTarget:
    """Return the target for the worker loop."""
    return DrawerVectorsTarget(context)
