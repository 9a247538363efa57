"""Which finding of a collection is behind which: what follows from another has its advice."""

from __future__ import annotations

from collections.abc import Collection

from palace_lab.repro.advice import ADVICE, Advice

#: What has other findings of the same collection follow, the strongest first.
_ROOTS = (
    "segment-unlisted",
    "watermark-blob",
    "segment-missing",
    "pickle-torn",
    "pickle-refused",
    "pickle-missing",
    "dimension-mismatch",
    "log-unreadable",
    "watermark-impossible",
    "watermark-missing",
    "index-drift",
    "index-torn",
    "bloated-file",
    "log-gap",
)
#: What may follow from them.
_CONSEQUENCES = frozenset(
    {
        "index-drift",
        "index-torn",
        "bloated-file",
        "vectors-missing",
        "vectors-doubtful",
        "unrecoverable",
        "index-only",
        "element-unknown",
        "count-mismatch",
        "vector-mismatch",
    }
)
#: What the rename of an index leaves behind: nothing, or an index that was begun anew.
_AFTER_RENAME = ("segment-missing", "pickle-missing", "index-drift")


def advise(kind: str, others: Collection[str], *, renamed: bool) -> Advice:
    """Return the advice for a kind found together with `others` in the same collection.

    What follows from something else has that one's cause, and its scenario. `renamed` says that
    the collection's index was set aside by the published quarantine.
    """
    root = kind
    if kind in _CONSEQUENCES:
        before = _ROOTS[: _ROOTS.index(kind)] if kind in _ROOTS else _ROOTS
        root = next((each for each in before if each in others), kind)
    if root in _AFTER_RENAME and renamed:
        root = "segment-missing"
    return ADVICE[root]
