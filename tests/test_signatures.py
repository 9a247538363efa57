"""Real words of errors, and the one name each goes by."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palace_lab.checks import signatures
from palace_lab.checks.signatures import (
    FAMILIES,
    NEVER_ACCEPTED,
    known,
    leading,
    members,
    of_error,
)
from palace_lab.errors import UsageError
from palace_lab.history.segment import HistoryFullError
from palace_lab.plan import Plan
from palace_lab.scenario import Scenario
from palace_lab.targets.base import describe
from palace_store import errors
from palace_store.fixes import Fixes

PAGE = Path(__file__).parent.parent / "docs" / "signatures.md"

# Measured with chromadb 0.5.23 to 1.5.9 and SQLite, or quoted from a report.
REAL = [
    (
        (
            "InternalError: Error executing plan: Error sending backfill request to compactor: "
            "Error constructing hnsw segment reader: Error creating hnsw segment reader: "
            "Error deserializing pickle file: eval error at offset 0: EOF while parsing"
        ),
        "index-unreadable",
    ),
    (
        (
            "InternalError: Error executing plan: Error sending backfill request to compactor: "
            "Failed to apply logs to the hnsw segment writer"
        ),
        "index-unreadable",
    ),
    ("EOFError: Ran out of input", "index-unreadable"),
    ("UnpicklingError: pickle data was truncated", "index-unreadable"),
    ("InternalError: Error executing plan: Internal error: Error finding id", "finding-id"),
    (
        (
            "InternalError: Error executing plan: Error sending backfill request to compactor: "
            "Error reading from metadata segment reader: error occurred while decoding column 0: "
            "mismatched types; Rust type `u64` (as SQL type `INTEGER`) is not compatible with SQL "
            "type `BLOB`"
        ),
        "watermark-blob",
    ),
    (
        (
            "mismatched types; Rust type u64 (as SQL type INTEGER) is not compatible with SQL type "
            "BLOB"
        ),
        "watermark-blob",
    ),
    (
        "AttributeError: 'dict' object has no attribute 'dimensionality'",
        "pickle-of-another-era",
    ),
    ("OperationalError: database is locked", "locked"),
    ("PalaceLockedError: database is locked: waited 60.0 s", "locked"),
    ("InternalError: Error executing plan: (code: 5) database is locked", "locked"),
    ("OperationalError: SQLITE_BUSY_SNAPSHOT", "locked"),
    ("DatabaseError: database disk image is malformed", "sqlite-malformed"),
    ("MemoryFileError: m cannot be used (duplicate column name: namespace)", "migration-torn"),
    ("MemoryFileError: m cannot be used (no such table: memories)", "migration-torn"),
    ("OperationalError: duplicate column name: namespace", "unexplained-error"),
    ("WaitedForRemoteError: it ended only when the remote had answered", "waited-for-remote"),
    ("NotThereError: 1 memories are not here yet: [3]", "not-converged"),
    ("DatabaseError: file is not a database", "sqlite-malformed"),
    (
        (
            "ProgrammingError: SQLite objects created in a thread can only be used in that same "
            "thread. The object was created in thread id 1 and this is thread id 2."
        ),
        "wrong-thread",
    ),
    (
        "StaleLibraryError: this process runs chromadb 0.6.3, the palace was opened by 1.5.9",
        "refused-stale-library",
    ),
    (
        "IndexDamagedError: the HNSW index of 'drawers' holds no pickle; nothing was changed",
        "refused-damaged-index",
    ),
    ("LeaseTimeoutError: process 7 has kept the palace for 60 s", "refused-lease"),
    ("LeaseLostError: a peer has taken the palace over", "refused-fenced"),
    ("OSError: [Errno 28] No space left on device", "disk-full"),
    (
        (
            "InternalError: Error executing plan: Error loading hnsw index: File too large "
            "(os error 27)"
        ),
        "bloated",
    ),
    ("PanicException: capacity overflow", "native-panic"),
    ("MemoryError: ", "native-panic"),
    ("ModuleNotFoundError: No module named 'chromadb'", "import-error"),
    ("ImportError: cannot import name 'Settings' from 'chromadb.config'", "import-error"),
    ("HistoryFullError: a history segment holds 65536 records and is full", "lab-error"),
    ("RuntimeError: Cannot return the results in a contigious 2D array.", "search-refused"),
    (
        "AttributeError: 'PersistentData' object has no attribute 'max_seq_id'",
        "pickle-of-another-era",
    ),
    ("EOFError: ", "unexplained-error"),  # what the lab's own channel says when it is closed
    ("ValueError: Expected where to have exactly one operator", "unexplained-error"),
]


@pytest.mark.parametrize(("text", "signature"), REAL)
def test_real_words_have_their_name(text: str, signature: str) -> None:
    assert of_error(text) == signature


@pytest.mark.parametrize(("text", "signature"), REAL)
def test_a_traceback_has_the_name_of_what_it_ends_in(text: str, signature: str) -> None:
    """Paths and source lines above it say nothing, whatever words they contain."""
    before = (
        "Traceback (most recent call last):\n"
        '  File "/env/chromadb/segment/impl/vector/local_persistent_hnsw.py", line 1\n'
        "    raise KeyError('HNSW')\n"
        "KeyError: 'pickle'\n\n"
        "During handling of the above exception, another exception occurred:\n\n"
        "Traceback (most recent call last):\n"
        '  File "/env/chromadb/pickle.py", line 2, in load\n'
        "    raise OverflowError  # database is locked\n"
    )
    assert of_error(before + text + "\n") == signature


@pytest.mark.parametrize(
    "text", ["", " \n", "Traceback (most recent call last):\n  File 'pickle.py', line 1\n"]
)
def test_a_death_without_words_is_unexplained(text: str) -> None:
    assert of_error(text) == "unexplained-error"


def test_a_traceback_may_end_in_several_lines() -> None:
    text = (
        "Traceback (most recent call last):\n  File 'x'\nInternalError: first\nError finding id\n"
    )
    assert of_error(text) == "finding-id"


def test_our_own_errors_are_told_apart() -> None:
    raised: list[Exception] = [
        errors.StaleLibraryError("m", running="0.6.3", palace="1.5.9"),
        errors.LeaseTimeoutError("database is locked", holder=7),
        errors.LeaseLostError("m"),
        errors.IndexDamagedError("the HNSW index"),
        HistoryFullError("m"),
    ]
    names = [of_error(describe(error)) for error in raised]
    assert len(set(names)) == len(names)
    assert "unexplained-error" not in names


# Names -------------------------------------------------------------------------------------------


def test_the_labs_own_trouble_can_never_be_listed() -> None:
    assert {"lab-error", "import-error", "unexplained-error", "hang"} <= NEVER_ACCEPTED
    assert not known() & NEVER_ACCEPTED
    for name, family in FAMILIES.items():
        assert not family & NEVER_ACCEPTED, name
        assert family <= known(), name
    for name in NEVER_ACCEPTED:
        for accepted in (name, ("locked", name)):
            with pytest.raises(UsageError, match="the lab's own trouble"):
                Scenario(
                    system="s1", plan=Plan(steps=()), off=Fixes.none(), accepts={"*": accepted}
                )


def test_whatever_an_error_may_be_called_can_be_listed_or_never() -> None:
    for _, signature in REAL:
        assert signature in known() | NEVER_ACCEPTED


def test_a_name_stands_for_itself_a_family_for_its_members() -> None:
    assert members("locked") == {"locked"}
    assert members("index-ruined") == FAMILIES["index-ruined"]
    assert {"reader-signal", "finding-id", "silent-vector-loss"} <= members("index-ruined")
    assert "silent-row-loss" not in members("index-ruined")


# The one a trial is counted under ----------------------------------------------------------------

NAMES = sorted((known() | NEVER_ACCEPTED) - set(FAMILIES))


def test_no_two_names_weigh_the_same() -> None:
    for one, other in itertools.combinations(NAMES, 2):
        assert leading({one, other}) == leading({other, one})
        assert leading({one, other}) in (one, other)
    assert leading(set()) is None


@given(st.permutations(NAMES))
def test_it_leads_whatever_else_there_is_of_less_weight(names: list[str]) -> None:
    order: list[str] = []
    left = set(names)
    while left:
        first = leading(left)
        assert first is not None
        order.append(first)
        left.remove(first)
    for heavier, lighter in itertools.combinations(order, 2):
        assert leading({lighter, heavier}) == heavier


@pytest.mark.parametrize("other", [name for name in NAMES if name != "unexplained-error"])
def test_what_is_unexplained_comes_last_and_a_broken_lab_first(other: str) -> None:
    assert leading({other, "unexplained-error"}) == other
    assert leading({other, "lab-error"}) == "lab-error"
    if other != "lab-error":
        assert leading({other, "import-error"}) == "import-error"


def test_a_crash_says_more_than_the_loss_it_comes_with() -> None:
    assert leading({"silent-vector-loss", "reader-signal", "files-disagree"}) == "reader-signal"
    assert leading({"silent-vector-loss", "files-disagree"}) == "silent-vector-loss"
    assert leading({"index-unreadable", "watermark-blob"}) == "watermark-blob"


def test_it_is_the_same_in_every_interpreter() -> None:
    code = (
        "from palace_lab.checks.signatures import *\n"
        "names = set(known() | NEVER_ACCEPTED)\n"
        "while names:\n"
        "    print(leading(names)); names.remove(leading(names))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1


def test_every_name_that_weighs_is_weighed_once() -> None:
    assert len(signatures._RANK) == len(set(signatures._RANK))


def test_the_page_explains_every_name_in_the_order_they_count() -> None:
    text = PAGE.read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`[^|]+`) \| ..+ \|$", text, re.MULTILINE)
    rows = [name for cell in cells for name in re.findall(r"`([a-z-]+)`", cell)]
    assert sorted(rows) == sorted((known() | NEVER_ACCEPTED) - set(FAMILIES))
    for one, other in itertools.pairwise(rows):
        assert leading({one, other}) == one, f"{one} stands before {other}"
    for family, members_ in FAMILIES.items():
        (said,) = re.findall(rf"`{family}` is a family.*?\.\n?(?= `hang`)", text, re.DOTALL)
        assert set(re.findall(r"`([a-z-]+)`", said)) == {family, *members_}
    (never,) = re.findall(r"(`hang`[^.]*) never count", text)
    assert set(re.findall(r"`([a-z-]+)`", never)) == NEVER_ACCEPTED
