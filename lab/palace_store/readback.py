"""S1: an index that was written is read back once before it is believed.

chromadb does not look whether the writes of a flush succeed: on a full or failing disk it
acknowledges, and the next process to load the index has old, half or no vectors where new ones
belong, or dies (measured on 0.6.3, 1.0.21 and 1.5.9). 0.6.3 also swallows every error met while an
index takes up a change. The log has every vector, so the index files can be compared with it: by
whoever opens the palace next, before its client, once for each state of the files. Costs 0.4-0.6 s
for 10,000 vectors of 384 dimensions (0.6.3, 1.5.9).

What agrees with the log may still be found by no search: where vectors are replaced, chromadb 1.x
now and then leaves another drawer without any link to it. Whoever reads that writes it again, and
what is in no file yet is looked for (`linking`).
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from palace_store.anatomy import AnatomyError, CollectionSurvey, survey
from palace_store.client import Unlinked
from palace_store.quarantine import segment_directories
from palace_store.retention import database
from palace_store.state import of_default

#: Drawers of one collection that are linked again at one open: as many as a batch of chromadb's.
RELINKED_MAX = 100
#: What an index that is made anew has again: the log lacks it, or a table, not the index.
_NOT_MENDED = frozenset({"log-gap", "dimension-missing"})
_LOG = logging.getLogger(__name__)
_SWALLOWER = "chromadb.db.mixins.embeddings_queue"


def fingerprint(palace: Path, files: str = "*") -> tuple[str, ...]:
    """Return `<segment> <digest>` for each index; a write to one of these files changes it.

    A faithful copy of a palace has the same.
    """
    found = []
    for segment in segment_directories(palace):
        digest = hashlib.sha256()
        for file in sorted(segment.glob(files)):
            with contextlib.suppress(FileNotFoundError):
                status = file.stat()
                text = f"{file.name} {status.st_size} {status.st_mtime_ns}\n"
                digest.update(text.encode())
        found.append(f"{segment.name} {digest.hexdigest()[:16]}")
    return tuple(found)


def strangers(palace: Path, left: tuple[str, ...]) -> tuple[str, ...]:
    """Return the collections whose index is not as this library left it.

    What two processes wrote by turns may agree with the log, vector by vector, and still have lost
    its links. So it is not checked for harm: it is made anew.
    """
    changed = {entry.partition(" ")[0] for entry in set(left) ^ set(fingerprint(palace))}
    if not changed:
        return ()
    with database(palace) as connection:
        rows = connection.execute(
            "SELECT s.id, c.name FROM segments s JOIN named c ON s.collection = c.id"
        ).fetchall()
    found = tuple(sorted(name for segment, name in rows if segment in changed))
    if found:
        _LOG.warning("%s: another program has written the index of %s", palace, found)
    return found


@dataclass(frozen=True)
class Reading:
    """What the index files are like, compared with the log.

    `damaged` are collections that contradict it in any way; `unlinked` maps the others that have
    drawers to which no link of the index leads to these, with vectors as the log has them.
    """

    damaged: tuple[str, ...] = ()
    unlinked: Mapping[str, Unlinked] = field(default_factory=dict)


def read(palace: Path, *, strange: bool = False) -> Reading | None:
    """Compare the index of every collection with its log; no client may be open.

    One that only lacks what the log lacks is as good as a rebuild would make it, unless it is
    `strange`: made by others. None where that could not be done now: whoever opens the palace next
    has to try again.
    """
    with database(palace):
        pass  # rolls back what a dead writer left half done in SQLite
    try:
        found = survey(palace).collections
    except AnatomyError as error:
        _LOG.warning("the indexes of %s could not be read back: %s", palace, error)
        return None
    bad = {
        each.name: finding.sentence
        for each in found
        for finding in each.findings
        if finding.severity == "damage"
        and finding.kind not in _NOT_MENDED
        and (strange or not finding.ids or not each.log_ids.isdisjoint(finding.ids))
    }
    for sentence in bad.values():
        _LOG.warning("%s: an index was not written as it should have been: %s", palace, sentence)
    unlinked = {
        each.name: _unlinked(each, [name for name in finding.ids if name in each.rows])
        for each in found
        for finding in each.findings
        if finding.kind == "index-unreachable" and each.name not in bad and of_default(each.name)
    }
    known = {name: lost for name, lost in unlinked.items() if lost.vectors.ids}
    return Reading(tuple(sorted(bad)), known)


def _unlinked(each: CollectionSurvey, ids: list[str]) -> Unlinked:
    return Unlinked(each.vectors(ids[:RELINKED_MAX]), tuple(ids[RELINKED_MAX:]))


def let_errors_out() -> None:
    """Let chromadb 0.x raise what goes wrong while an index takes up a change; call with a client.

    It has a switch for its own tests; without it such an error is only logged.
    """
    module = vars(sys.modules[_SWALLOWER]) if _SWALLOWER in sys.modules else {}
    if "_called_from_test" in module:
        module["_called_from_test"] = True
