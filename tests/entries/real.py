"""The scenarios of this project, read once by all tests that look at them."""

from __future__ import annotations

from pathlib import Path

from palace_lab.catalog import find_scenarios

CLONE = Path(__file__).resolve().parents[2]
REAL = find_scenarios(CLONE / "scenarios")
