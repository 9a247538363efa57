"""Times and sizes as a command line has them."""

from __future__ import annotations

import pytest

from palace_lab.commands.durations import bytes_of, seconds_of
from palace_lab.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("8h", 28_800),
        ("30m", 1800),
        ("90s", 90),
        ("1h30m", 5400),
        ("0.5h", 1800),
        (" 2d ", 172_800),
    ],
)
def test_a_duration(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "8", "h", "-1h", "8 h", "1e9h", "0s", "400d", "8h!", "٣h", "9" * 400 + "h"],
)
def test_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="is no duration"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("20GB", 20 * 10**9),
        ("500MB", 5 * 10**8),
        ("0.5 GB", 5 * 10**8),
        ("7", 7),
        ("3g", 3 * 10**9),
    ],
)
def test_a_size(text: str, count: int) -> None:
    assert bytes_of(text) == count


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0GB", "1PB", "99999999TB", "nan", "1XB"])
def test_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="is no size"):
        bytes_of(text)
