"""What is behind each kind of finding, and what to do: likely cause, scenario, remedy.

Rules. A cause is what the lab has seen to have that effect, or "unknown". A scenario is named only
where its palaces show that very finding; where none does, none is named. A remedy never touches the
palace before it was copied.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from palace_lab.called import called
from palace_lab.report.words import shown_path

#: Kinds of finding beside those of `palace_store.anatomy.KINDS`.
KINDS: Mapping[str, str] = {
    "change-cut-off": "palace_store noted a change that never ended, and no process is at it",
    "database-begun": "a database is there, and has no tables or nothing in them yet",
    "database-damaged": "SQLite's own check of a file finds something wrong",
    "database-foreign": "the graph's or the memories' tables are not those of palace_store",
    "database-missing": "chroma.sqlite3 is not there, but directories of its index are",
    "database-unreadable": "a database of the palace cannot be read at all",
    "log-long": "the write-ahead log of a file is longer than its bound",
    "release-unknown": "the tables are of a newer release than this lab knows",
}

_COPY = "stop every process that uses the palace and copy its folder first"
#: What a remedy says where the library can help; a line to paste follows it.
_MENDED = "have a copy mended"
_STOP = "stop every process that uses the palace"
_OPEN = (
    f"{_STOP}; then {_MENDED}, whose index is rebuilt from what the log and the files "
    "surely hold, with a list of what is lost (docs/s1-index-drift.md)"
)
_MARKS = f"{_STOP}; then {_MENDED}, whose watermarks are put right (docs/s0-stale-server.md)"
_BACKUP = f"{_COPY}; nothing here mends it: restore the file from a backup"
_ASK = f"{_COPY}; nothing here mends it by itself: keep the copy and report it"
_BY_HAND = "rows were deleted from the tables by something that is not chromadb"
_TEXTS = (
    f"{_COPY}; nothing here mends it: restore the file from a backup, or write the drawers again "
    "from what is left in embedding_metadata and embedding_fulltext_search_content"
)
_TWO = "two processes wrote the palace at the same time, each its own index over the other's"
_TWO_OR_DISK = f"{_TWO}; or the disk holds other bytes than were written"
_TWO_OR_PURGED = f"{_TWO}; or the log was emptied before an index had taken it up"
_KILLED = "a process was killed, or the disk was full, while it wrote the index files"


@dataclass(frozen=True)
class Advice:
    """A likely cause, the scenario that reproduces it ("" where none does), and what to do."""

    cause: str
    scenario: str
    remedy: str

    @property
    def mends(self) -> bool:
        """Tell whether a mended copy is part of what to do."""
        return _MENDED in self.remedy

    def mending(self, palace: Path) -> str | None:
        """Return the command that makes a mended copy, None where that would not help."""
        names = (f"{palace.name}.mended{number}" for number in ("", *range(2, 1000)))
        free = (palace.with_name(name) for name in names)
        copy = next((each for each in free if not os.path.lexists(each)), palace)
        line = f"{called()} mend {shown_path(palace)} --into {shown_path(copy)}"
        return line if self.mends else None

    def command(self, palace: Path) -> str:
        """Return a command to paste: the scenario, else all that is known of the finding."""
        if self.scenario:
            return f"{called()} run {self.scenario}"
        return f"{called()} diagnose {shown_path(palace)} --json"


ADVICE: Mapping[str, Advice] = {
    "segment-missing": Advice(
        "the directory of the index was renamed, as the published quarantine does, or removed",
        "s1/quarantine",
        _OPEN,
    ),
    "pickle-torn": Advice(_KILLED, "s1/killed-in-pickle", _OPEN),
    "index-torn": Advice(_KILLED, "s1/killed-in-data", _OPEN),
    "bloated-file": Advice(
        "a torn data_level0.bin was opened, and chromadb wrote garbage into link_lists.bin",
        "s1/killed-in-data",
        _OPEN,
    ),
    "pickle-missing": Advice(_KILLED, "s1/killed-in-data", _OPEN),
    "index-drift": Advice(_TWO, "s1/two-writers-alternating", _OPEN),
    "log-gap": Advice(
        "another process purged the log before this index had taken it up",
        "s1/two-writers-alternating",
        _OPEN,
    ),
    "element-unknown": Advice(_TWO_OR_DISK, "s1/two-writers-alternating", _OPEN),
    "count-mismatch": Advice(_TWO_OR_DISK, "s1/two-writers-alternating", _OPEN),
    "vector-mismatch": Advice(_TWO_OR_DISK, "s1/two-writers-alternating", _OPEN),
    "index-only": Advice(
        f"{_TWO}; or {_BY_HAND}",
        "s1/two-writers-alternating",
        f"{_STOP}; then write these ids once more (upsert) and delete them: until then a search "
        "may answer them without a document",
    ),
    "vectors-doubtful": Advice(
        _TWO_OR_DISK,
        "s1/two-writers-alternating",
        f"{_OPEN}; write what that list names again before the copy takes the palace's place: "
        "until then the palace itself may find more",
    ),
    "vectors-missing": Advice(_TWO_OR_PURGED, "s1/two-writers-alternating", _OPEN),
    "unrecoverable": Advice(_TWO_OR_PURGED, "s1/two-writers-alternating", _OPEN),
    "index-unreachable": Advice(
        "other vectors of the collection were replaced, and the last link to these was lost; or "
        "chromadb's index links few by itself, as where many vectors are nearly or quite alike, "
        "have one to four dimensions or are compared by their inner product (hnsw:space ip), or "
        "where hnsw:M is small",
        "s1/replaced-vectors",
        f"{_STOP}; then {_MENDED}, where such drawers are written again, 100 at a time; "
        "where that is how the vectors or the settings are only others help (docs/s1-measured.md)",
    ),
    "watermark-blob": Advice(
        "a process of chromadb 0.x outlived an upgrade to 1.x and went on writing",
        "s0/stale-writer",
        f"stop the old process, it does this again otherwise; then {_MENDED}, where the "
        "number is given its type (docs/s0-stale-server.md)",
    ),
    "watermark-impossible": Advice(
        "the log was emptied or is of an earlier moment than the watermark, or somebody wrote a "
        "number over a BLOB there, as a remedy; chromadb passes over changes that it acknowledges",
        "",  # raw chromadb has not been seen to write one; tests/test_store_watermarks.py does
        _MARKS,
    ),
    "watermark-missing": Advice(
        "somebody deleted it, perhaps as a remedy for a BLOB there; chromadb 0.x cannot open the "
        "index then",
        "",
        _MARKS,
    ),
    "watermark-type": Advice("unknown: no release of chromadb writes this", "", _MARKS),
    "quarantined-directories": Advice(
        "a quarantine, or palace_store when it rebuilt an index (.rebuilt-, .torn-)",
        "s1/quarantine",
        "keep them until nothing is missing: they may hold vectors that are nowhere else",
    ),
    "pickle-refused": Advice(
        "the file was not written by chromadb; it may run code when chromadb opens it",
        "",
        "do not open the palace with chromadb; find out who wrote the file",
    ),
    "dimension-mismatch": Advice("unknown: index and table are of different collections", "", _ASK),
    "dimension-missing": Advice(
        "a column of the table of collections was emptied by something that is not chromadb",
        "",
        f"{_COPY}; then write one of its drawers once more with its embedding (upsert), which "
        "sets the dimension again: no vector is lost",
    ),
    "log-unreadable": Advice("unknown: no release of chromadb writes such a record", "", _ASK),
    "seq-id-unreadable": Advice("unknown: no release of chromadb writes this", "", _ASK),
    "row-missing": Advice(_BY_HAND, "", _TEXTS),
    "text-missing": Advice(_BY_HAND, "", _TEXTS),
    "text-unindexed": Advice(
        _BY_HAND.replace("the tables", "the full-text index"),
        "",
        f"{_COPY}; then write these once more with their texts and embeddings (upsert), which "
        "`get` still has",
    ),
    "segment-name": Advice("the file was not written by chromadb", "", _ASK),
    "config-unreadable": Advice("unknown: no release of chromadb writes this", "", _ASK),
    "segment-ownerless": Advice(
        "the row of a collection was deleted from the tables, or a deletion was cut off; or, while "
        "the palace was one of 0.x, its database was deleted, which left all that it had",
        "",
        _ASK,
    ),
    "segment-twice": Advice("unknown: no release of chromadb writes this", "", _ASK),
    "segment-unlisted": Advice(
        "rows of the table of segments were deleted or changed, or the file is not a whole copy",
        "",
        f"{_COPY}; delete nothing that is listed: restore the file from a backup",
    ),
    "tables-incomplete": Advice(
        "tables, or rows of the table of migrations, were deleted by something that is not "
        "chromadb, or the file is not a whole copy",
        "",
        f"{_BACKUP}; what the other tables hold is all there",
    ),
    "owner-missing": Advice(
        "rows were deleted from, or changed in, the tables of collections, databases or tenants "
        "by something that is not chromadb",
        "",
        f"{_BACKUP}; its rows and vectors are all there",
    ),
    "rows-ownerless": Advice(
        "the table of segments, or the rows, were changed by something that is not chromadb",
        "",
        f"{_COPY}; delete nothing that is listed: restore the file from a backup",
    ),
    "database-begun": Advice(
        "a process was killed while it made the palace, or has only begun to",
        "",
        "nothing: the next program makes what is missing; if there were drawers or facts in it, "
        "restore the file from a backup",
    ),
    "database-damaged": Advice(
        "the disk, or a program that dropped SQLite's locks or removed a journal",
        "",
        _BACKUP,
    ),
    "database-unreadable": Advice(
        "a copy that was cut short, the disk, or a stray file", "", _BACKUP
    ),
    "database-foreign": Advice(
        "another program made the file, or changed its tables",
        "",
        f"{_COPY}; nothing here mends it: move the file out of the palace if it is another's, else "
        "restore it from a backup",
    ),
    "database-missing": Advice("the file was removed, or the copy is not complete", "", _BACKUP),
    "log-long": Advice(
        "a process stays in one read of the file", "s2/kg-pinned-log", "end that process"
    ),
    "change-cut-off": Advice(
        "a process died in the middle of a change",
        "s1/dead-before-telling",
        "nothing if a program with palace_store opens it next: that finishes or undoes the change; "
        f"else {_MENDED}",
    ),
    "release-unknown": Advice(
        "a newer chromadb, or a newer palace_store, opened the palace", "", "upgrade palace-lab"
    ),
}  # fmt: skip
