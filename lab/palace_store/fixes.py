"""The fixes, by name: each can be switched off alone, or set to what its report describes.

A set of fixes is a value that crosses process and interpreter boundaries as a list of words:
``lease`` is on, a name that is absent is off, ``quarantine=reported`` is the fix exactly as the
report describes it, parameters included, ``quarantine=reviewed`` as its review asked for it;
``eager`` and ``interval`` are what came before a report's fix (`freshness`). S0 to S4 are the field
reports (docs/).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

Variant = Literal["on", "reported", "reviewed", "eager", "interval"]

#: Every fix of this library with the reason it is here.
KNOWN: Mapping[str, str] = {
    "version_guard": "S0: a process with an older chromadb than the palace refuses to touch it",
    "lease": "S1/S2: one process at a time changes the index, across processes",
    "generation": "S1/S2: a client that missed a peer's write is reopened before it is used",
    "flush_mark": "S1: a durable note that a change is under way, so that a death is noticed",
    "retention": "S1: the log keeps every vector, so that an index can be rebuilt",
    "trim": "S1: that log loses the records that later ones supersede, so its size has a bound",
    "read_back": "S1: an index that was written is compared with the log once, and linked again",
    "relink": "S1: what a replaced vector cut off from every search is looked for, linked again",
    "watermark_heal": "S0: a watermark no release can go on from is put right at every open",
    "stale_check": "S0: a server looks at each call whether its library was replaced; answers none",
    "refuse_writes": "S0: a stale server refuses what changes the palace and still answers reads",
    "self_restart": "S0: a stale server may start itself anew on the same pipe, where asked to",
    "foreign_check": "S1: an index that another program has written is not trusted, the log is",
    "salvage": "S1: of a torn palace all comes back that a file surely holds; the rest is listed",
    "canary": "S1: a process of its own opens a copy of a palace of others first",
    "quarantine": "S1: a damaged index is set aside; ours rebuilds it, the report's only renames",
    "kg_busy_timeout": "S2: SQLite waits 60 s for a peer instead of 10 s",
    "kg_immediate": "S2: a write takes its lock when it begins, not when it first writes",
    "kg_retry": "S2: a residual lock error is retried with bounded, jittered backoff",
    "kg_wal_setup": "S2: the switch of a new file to WAL is serialised between first openers",
    "kg_autocheckpoint": "S2: checkpoints are short and frequent",
    "kg_log_bound": "S2: a log that a reader keeps from being emptied is not written on for ever",
    "kg_clean_shutdown": "S2: the log is folded in at the end; ours keeps no peer waiting for it",
    "local_one_connection": "S4: server, threads and sync share one connection and its lock",
    "local_any_thread": "S4: that connection serves every thread of its process",
    "local_transaction": "S4: a write takes its lock when it begins, and never stays open",
    "local_retry": "S4: the lock of another process is tried again, with bounded, jittered backoff",
    "local_wal": "S4: memories are written ahead, so that whoever reads keeps no writer out",
    "local_migration": "S4: a schema is migrated whole or not at all, by one process at a time",
    "sync_outside_lock": "S4: no lock is held and nothing is open while the remote is awaited",
    "sync_recall_timeout": "S4: a recall waits for the remote for a bounded time, then says so",
    "sync_independent": "S4: what is pulled does not depend on what could be pushed",
    "sync_auth": "S4: a wrong key means local only, until a light check says that it is right",
    "sync_cap": "S4: what keeps failing is parked; ours counts no outage, the report's did",
    "sync_idempotency": "S4: an operation sent again is known to the remote by its key",
    "sync_resync": "S4: at the start and every 10 minutes everything is compared",
    "sync_orphans": "S4: what only this machine has, and nobody is to be told of, is pushed",
    "sync_dedup": "S4: what the remote has in the same words is taken for the same memory",
    "sync_rows": "S4: a malformed row is passed over and reported, and stops nothing",
    "sync_tombstones": "S4: a memory goes where it was deleted, not where a list lacks it",
    "embedding_identity": "S3: a writer or reader of another model is refused, both named",
    "embedding_claim": "S3: of those who store one content, all but one hear that it is there",
    "embedding_config": "S3: who was configured with another model by now is told before it writes",
    "embedding_reset": "S3: a reset embeds aside and takes its place at once, not row by row",
}

#: What a report's own fix consists of. A name that maps to "reported" differs from ours.
_REPORTED: Mapping[str, Mapping[str, Variant]] = {
    "stale-server": {"stale_check": "on", "refuse_writes": "on"},
    "quarantine": {"quarantine": "reported"},
    "quarantine-review": {"quarantine": "reviewed"},
    "client-cache": {"generation": "reported"},
    "client-cache-interval": {"generation": "interval"},
    "client-cache-before": {"generation": "eager"},
    "kg": {
        "kg_busy_timeout": "on",
        "kg_immediate": "on",
        "kg_retry": "on",
        "kg_autocheckpoint": "reported",
        "kg_clean_shutdown": "reported",
    },
    "local": {
        "local_one_connection": "on",
        "local_any_thread": "on",
        "local_transaction": "on",
        "local_retry": "on",
        "local_wal": "on",
    },
    "sync": {
        "local_one_connection": "on",
        "local_any_thread": "on",
        "local_transaction": "on",
        "local_retry": "on",
        "local_wal": "on",
        "sync_outside_lock": "on",
        "sync_recall_timeout": "on",
        "sync_independent": "on",
        "sync_auth": "on",
        "sync_cap": "reported",
        "sync_resync": "on",
        "sync_orphans": "on",
        "sync_dedup": "on",
        "sync_tombstones": "on",  # what only this machine has is pushed, so it is not deleted
    },
    "embedding": {"embedding_identity": "reported"},
}


@dataclass(frozen=True)
class Fixes:
    """An immutable set of switched-on fixes."""

    variants: tuple[tuple[str, Variant], ...]

    def __post_init__(self) -> None:
        for name, _ in self.variants:
            if name not in KNOWN:
                known = ", ".join(sorted(KNOWN))
                raise ValueError(f"there is no fix named {name!r}; the fixes are: {known}")

    @classmethod
    def all(cls) -> Fixes:
        """Return our own form of every fix."""
        return cls(tuple((name, "on") for name in sorted(KNOWN)))

    @classmethod
    def none(cls) -> Fixes:
        """Return the library as the reports found theirs: no fix at all."""
        return cls(())

    @classmethod
    def reported(cls, name: str, *more: str) -> Fixes:
        """Return only the fix a report describes, as it describes it; of several names all of it.

        Raises `ValueError` for an unknown name, and for two that want one fix in different forms.
        """
        merged: dict[str, Variant] = {}
        for each in (name, *more):
            if each not in _REPORTED:
                known = ", ".join(sorted(_REPORTED))
                raise ValueError(f"no report describes a fix named {each!r}; reported are: {known}")
            for fix, variant in _REPORTED[each].items():
                if merged.setdefault(fix, variant) != variant:
                    raise ValueError(
                        f"{each!r} wants {fix} as {variant!r}, which is {merged[fix]!r} already: "
                        "name one of them"
                    )
        return cls(tuple(sorted(merged.items())))

    @classmethod
    def parse(cls, words: Iterable[str]) -> Fixes:
        """Read back what `words` wrote."""
        pairs: list[tuple[str, Variant]] = []
        for word in words:
            name, _, variant = word.partition("=")
            if variant not in ("", *get_args(Variant)):
                known = ", ".join(get_args(Variant))
                raise ValueError(f"fix {name!r} has no variant {variant!r}; use none or: {known}")
            pairs.append((name, cast("Variant", variant or "on")))
        return cls(tuple(sorted(pairs)))

    def words(self) -> list[str]:
        """Return the set as plain words, for a command line or another process."""
        return [name if how == "on" else f"{name}={how}" for name, how in self.variants]

    def without(self, *names: str) -> Fixes:
        """Return this set with the named fixes switched off."""
        for name in names:
            if name not in KNOWN:
                raise ValueError(f"there is no fix named {name!r} to switch off")
        return Fixes(tuple(pair for pair in self.variants if pair[0] not in names))

    def has(self, name: str) -> bool:
        """Tell whether the fix is on, in whichever variant."""
        return self.variant(name) is not None

    def variant(self, name: str) -> Variant | None:
        """Return how the fix is on, None where it is off."""
        if name not in KNOWN:
            raise ValueError(f"there is no fix named {name!r}")
        return dict(self.variants).get(name)

    def is_reported(self, name: str) -> bool:
        """Tell whether the fix is on as its report describes it."""
        return (name, "reported") in self.variants
