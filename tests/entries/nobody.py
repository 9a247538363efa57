"""Being another user for a moment, in a place that this one can come to."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534
only_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can be somebody else for a moment"
)


@contextmanager
def open_place() -> Iterator[Path]:
    """Yield a new directory that every user may look into; the usual place may be private."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        place = Path(directory)
        place.chmod(0o755)
        yield place


@contextmanager
def as_nobody() -> Iterator[None]:
    """Have no rights but those of everybody until the block ends."""
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
