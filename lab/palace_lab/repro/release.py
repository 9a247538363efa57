"""Which release of chromadb wrote a palace, as far as its files say so for certain.

Rules. Opening brings a palace's tables up to date, so the migrations it has show the newest release
that ever opened it: not older than the newest of them, and older than the first release with one it
lacks. Who wrote last is another question: rows, watermarks and index files each carry the form of
their own writer. What several releases do alike is not told apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

#: Migrations and the first release that has them; read from the packages 0.4.24, 0.5.0, 0.5.1,
#: 0.5.3, 0.5.4, 0.5.5, 0.5.7, 0.6.3, 1.0.0, 1.2.2, 1.3.0, 1.4.1, 1.5.0 and 1.5.9.
_FIRST: tuple[tuple[str, int, str], ...] = (
    ("sysdb", 5, "0.5.0"),
    ("sysdb", 6, "0.5.1"),
    ("sysdb", 7, "0.5.4"),
    ("sysdb", 9, "0.5.7"),
    ("metadb", 5, "1.0.0"),
    ("sysdb", 10, "1.3.0"),
    ("metadb", 6, "1.5.0"),
)
_NEWEST = {"sysdb": 10, "metadb": 6, "embeddings_queue": 2}
#: The newest release whose palaces were looked at.
NEWEST_KNOWN = "1.5.9"
#: How sequence numbers are stored: big-endian bytes in 0.x, integers since.
ERAS = {"blob": "0.x", "integer": "1.x"}


@dataclass(frozen=True)
class OpenedBy:
    """The newest release that opened a palace: from `at_least`, before `below`; None: not known."""

    at_least: str | None
    below: str | None
    newer_than_known: bool

    @property
    def words(self) -> str:
        """Return it as half a sentence."""
        if self.newer_than_known:
            return f"a release newer than {NEWEST_KNOWN}, the newest one known here"
        if self.at_least is None:
            return f"a release before {self.below}" if self.below else "an unknown release"
        return f"{self.at_least} or later" + (f", before {self.below}" if self.below else "")


def opened_by(migrations: Iterable[tuple[str, int, str]]) -> OpenedBy:
    """Return the newest release that ever opened a palace with these migrations."""
    have: dict[str, int] = {}
    for folder, version, _ in migrations:
        have[folder] = max(have.get(folder, 0), version)
    if not have:
        return OpenedBy(None, None, newer_than_known=False)
    at_least, below = None, None
    for folder, version, release in _FIRST:
        if have.get(folder, 0) >= version:
            at_least, below = release, None  # what an older one has and this lacks was taken away
        elif below is None:
            below = release
    newer = any(have.get(folder, 0) > version for folder, version in _NEWEST.items())
    return OpenedBy(at_least, below, newer)


def era(storages: Iterable[str]) -> str | None:
    """Return "0.x", "1.x" or "0.x and 1.x" for types of stored sequence numbers."""
    found = sorted({ERAS[each] for each in storages if each in ERAS})
    return " and ".join(found) or None
