"""Signatures: one name for one kind of failure, whatever the release calls it.

A scenario lists the names it accepts, or a family where one cause has several faces. The texts are
those of chromadb 0.5.23 to 1.5.9 and of SQLite, as measured or reported (S0 to S4).

Rules: only the words of an error count, never the source lines of a traceback; our own classes and
the trouble of disk or lab come before chromadb's wrapping ("Error executing plan: ..."), which
says nothing about the cause.
"""

from __future__ import annotations

import re

#: Text of an error -> signature. The first match counts.
_TEXTS: tuple[tuple[str, str], ...] = (
    (r"HistoryFullError", "lab-error"),
    (r"StaleLibraryError", "refused-stale-library"),
    (r"StaleServerError", "refused-stale-server"),
    (r"StaleAckError", "stale-ack"),
    (r"LeaseTimeoutError", "refused-lease"),
    (r"LeaseLostError", "refused-fenced"),
    (r"IndexDamagedError", "refused-damaged-index"),
    (r"OtherModelError", "refused-other-model"),
    (r"SingleWriterError", "refused-second-writer"),
    (r"No space left", "disk-full"),
    (r"mismatched types.*BLOB", "watermark-blob"),
    (r"has no attribute '(dimensionality|max_seq_id)'", "pickle-of-another-era"),
    (r"contigious 2D array", "search-refused"),  # sic; 0.x, whose graph cannot reach all it has
    (r"database is locked|SQLITE_BUSY|PalaceLockedError", "locked"),
    (r"LogTooLongError", "log-too-long"),
    (r"ClientThrashError", "client-thrash"),
    (r"WaitedForRemoteError", "waited-for-remote"),
    (r"NotThereError", "not-converged"),
    (
        r"MemoryFileError.*(duplicate column|already exists|another table|no such table)",
        "migration-torn",
    ),
    (r"SQLite objects created in a thread", "wrong-thread"),
    (r"database disk image is malformed|file is not a database", "sqlite-malformed"),
    (r"OverflowError|MemoryError|capacity overflow|PanicException", "native-panic"),
    (r"File too large|os error 27", "bloated"),
    (r"Error finding id|Nothing found on disk", "finding-id"),
    (
        (
            r"pickle|Ran out of input|hnsw segment (reader|writer)|Error loading hnsw|"
            r"Error constructing hnsw|Error executing plan|Index seems to be corrupted|HNSW"
        ),
        "index-unreadable",
    ),
)

#: A family is one cause with several faces.
FAMILIES: dict[str, frozenset[str]] = {
    "index-ruined": frozenset(
        {
            "bloated",
            "finding-id",
            "index-unreadable",
            "native-panic",
            "reader-signal",
            "reader-stuck",
            "search-refused",
            "silent-vector-loss",
            "slow-open",
            "writer-signal",
            "writer-stuck",
        }
    ),
}

#: What a signature weighs when a trial shows several: the one that says most comes first, and
#: before all of them what makes the others say nothing. An unexplained error comes last.
_RANK = (
    "lab-error",
    "import-error",
    "reader-signal",
    "writer-signal",
    "hang",
    "reader-stuck",
    "writer-stuck",
    "watermark-blob",
    "pickle-of-another-era",
    "index-unreadable",
    "finding-id",
    "search-refused",
    "native-panic",
    "sqlite-malformed",
    "silent-row-loss",
    "half-written",
    "mixed-models",
    "silent-vector-loss",
    "stale-content",
    "stale-read",
    "migration-torn",
    "stale-ack",
    "locked",
    "wrong-thread",
    "phantom",
    "duplicate",
    "not-converged",
    "parked-wrongly",
    "waited-for-remote",
    "told-twice",
    "told-by-none",
    "bloated",
    "log-too-long",
    "client-thrash",
    "slow-open",
    "disk-full",
    "files-disagree",
    "refused-stale-library",
    "refused-stale-server",
    "refused-lease",
    "refused-fenced",
    "refused-damaged-index",
    "refused-other-model",
    "refused-second-writer",
)

#: Never accepted as a reproduction: the lab's own trouble says nothing about the library.
NEVER_ACCEPTED = frozenset({"hang", "import-error", "lab-error", "unexplained-error"})


def of_error(text: str) -> str:
    """Return the signature of an error: of one line, or of a traceback."""
    words = _last_words(text)
    if re.match(r"(ModuleNotFound|Import)Error", words):
        return "import-error"
    for pattern, signature in _TEXTS:
        if re.search(pattern, words):
            return signature
    return "unexplained-error"


def _last_words(text: str) -> str:
    """Return what a traceback ends in: from the first unindented line after its last header on."""
    _, _, rest = text.rpartition("Traceback (most recent call last):")
    ending = re.search(r"^\S.*", rest, re.MULTILINE | re.DOTALL)
    return " ".join(ending[0].split()) if ending else ""


def leading(signatures: set[str]) -> str | None:
    """Return the one signature a trial is counted under."""
    for name in _RANK:
        if name in signatures:
            return name
    return min(signatures) if signatures else None


def members(accepted: str) -> frozenset[str]:
    """Return the signatures a name stands for: itself, or those of a family."""
    return FAMILIES.get(accepted, frozenset({accepted}))


def known() -> frozenset[str]:
    """Return every name a scenario may accept."""
    named = {signature for _, signature in _TEXTS} | set(_RANK) | set(FAMILIES)
    for family in FAMILIES.values():
        named |= family
    return frozenset(named) - NEVER_ACCEPTED
