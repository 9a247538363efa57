"""What anatomy says about a palace: findings about it, or one error when it cannot be read at all.

Rules. Damage that leaves something readable is a `Finding`; damage that leaves nothing is an
`AnatomyError`. Both are one sentence. Nothing else escapes from this package for a damaged input.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

Severity = Literal["note", "warning", "damage"]

#: Every kind of finding with its meaning. A kind never changes its meaning, only its sentence.
KINDS: dict[str, str] = {
    "bloated-file": "an index file is larger than its header allows",
    "config-unreadable": "settings of the log or of a collection are no JSON object",
    "count-mismatch": "the pickle and data_level0.bin disagree on which elements are alive",
    "dimension-mismatch": "collection, index or log disagree on the vectors' length",
    "dimension-missing": "a collection with vectors has no length of vectors in its table",
    "element-unknown": "the index holds live elements that the pickle does not name",
    "index-drift": "the index does not know rows below its own watermark (S1: two writers)",
    "index-only": "the index answers ids that have no row",
    "index-torn": "an index file is missing, short or contradicts its header",
    "index-unreachable": "no link leads to elements of the index, so that no search finds them",
    "log-gap": "a row above the vector watermark has no log record",
    "log-unreadable": "a log record cannot be applied: unknown operation or undecodable vector",
    "owner-missing": "a collection's database, or a database's tenant, is in no table",
    "pickle-missing": "index files hold elements but index_metadata.pickle is not there",
    "pickle-refused": "index_metadata.pickle holds something other than plain index data",
    "pickle-torn": "index_metadata.pickle is empty, cut short or malformed",
    "quarantined-directories": "segment directories that were set aside by renaming",
    "rows-ownerless": "ids of the index whose rows are of a segment that is in no table",
    "row-missing": "metadata or text of rows that are not in the table of rows",
    "segment-missing": "a watermark says that an index was written, but there is none",
    "segment-twice": "a collection has two segments of one scope: which one is used is not said",
    "segment-unlisted": "a collection lacks a row in the table of segments: nothing opens it",
    "segment-name": "a segment's id is not a UUID, so no directory is looked for",
    "segment-ownerless": "segments of a collection that is not in the table of collections",
    "seq-id-unreadable": "a row's sequence number has a type or length no release writes",
    "tables-incomplete": "tables, or the record of how they were made, are missing",
    "text-missing": "rows in the full-text index that have no text of their own",
    "text-unindexed": "rows whose text is not in the full-text index: no search for words finds it",
    "unrecoverable": "rows whose vector is in no file that can be read",
    "vector-mismatch": "the index answers another vector than the log's last write",
    "vectors-doubtful": "rows whose vector only an index has that may give one row's for another's",
    "vectors-missing": "rows that neither the index nor the log above its watermark answers",
    "watermark-blob": "a BLOB watermark where this schema has integers (S0)",
    "watermark-impossible": "a watermark beyond every sequence number there is, or below the first",
    "watermark-missing": "an index of 0.x was written, and no watermark says how far it has read",
    "watermark-type": "a watermark of a type no release writes",
}


class AnatomyError(Exception):
    """This palace or file cannot be read; the message is one sentence for its owner."""

    def __init__(self, message: str, *, kind: str = "unreadable") -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Finding:
    """One contradiction in a palace."""

    kind: str
    severity: Severity
    sentence: str
    collection: str | None = None
    ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"there is no finding of kind {self.kind!r}; add it to KINDS")


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading; refuse pipes, devices and directories instead of waiting on them.

    Raises `AnatomyError` of kind ``missing`` when nothing is there, ``unreadable`` otherwise.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise AnatomyError(f"{path} does not exist", kind="missing") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AnatomyError(f"{path} cannot be opened: {reason}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise AnatomyError(f"{path} is not a regular file")
    return os.fdopen(fd, "rb")


def read_bounded(path: Path, limit_bytes: int) -> bytes:
    """Return the whole file, which may be `limit_bytes` long at most."""
    with open_regular(path) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            data = file.read(min(size, limit_bytes) + 1)
        except OSError as error:
            raise AnatomyError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > limit_bytes:
        raise AnatomyError(
            f"{path} is larger than the {limit_bytes} bytes that are read at most", kind="too-large"
        )
    return data


def some(ids: tuple[str, ...], shown: int = 3) -> str:
    """Return a few ids for a sentence, with the number of the others."""
    head = ", ".join(repr(name[:80]) for name in ids[:shown])  # escapes what is not printable
    return head if len(ids) <= shown else f"{head} and {len(ids) - shown} more"


def found(
    kind: str, severity: Severity, sentence: str, ids: tuple[str, ...] = ()
) -> Iterator[Finding]:
    """Yield one finding; its sentence ends with the ids, if there are any."""
    text = f"{sentence}: {some(ids)}." if ids else f"{sentence}."
    yield Finding(kind, severity, text, None, ids)
