"""What is behind a finding where more than its kind has to be known to say so."""

from __future__ import annotations

from palace_lab.repro.advice import Advice

#: What chromadb 0.x does to its own index when an id is deleted, added and deleted in one batch.
BY_ITSELF = frozenset({"index-only", "element-unknown"})
LEFT_OVER = Advice(
    "chromadb 0.x left it there itself: an id was deleted, added and deleted in one batch",
    "s1/count-of-old",
    "nothing: no row is missing",
)

OF_DELETED = Advice(
    "their database was deleted with chromadb (delete_database), which leaves the segments of its "
    "collections there, and in 0.x what was stored in them",
    "",
    "nothing: it concerns no collection that there is; if nobody deleted a database, restore the "
    "file from a backup",
)

NEVER_USED = Advice(
    "chromadb 0.x refused a setting when the collection was created (ValueError, as for "
    "hnsw:sync_threshold = 2), or was killed in the middle of that: it writes the collection first "
    "and its segments after",
    "",
    "nothing was ever stored in it and every use of it fails: delete it with chromadb "
    "(delete_collection) and create it again; a program with palace_store removes it by itself "
    "where a change of it was cut off",
)

#: What is left where palace_store has put back all that it could, and what that is told by.
OF_LOST = frozenset({"vectors-missing", "unrecoverable", "index-drift"})
LOST = Advice(
    "no file held these vectors, or these changes, any more when palace_store came to mend it",
    "",
    "write the drawers that are named (all of them: --json) again, from their documents; put back "
    "files of the palace if there is a copy from before",
)
