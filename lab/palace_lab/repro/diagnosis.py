"""Says what is wrong with a palace, and claims only what stands.

Rules. A palace that nobody has open and that did not change while it was read is read once. Else a
contradiction may be the picture of a moment, such as a flush half done: the palace is read again,
from copies, and a finding stands if it is there both times and the files it speaks of stayed as
they were. Any other is reported as being in motion, and is no verdict. What cannot be looked at for
want of permission is refused before anything is read.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from palace_lab.errors import UsageError
from palace_lab.repro.advice import Advice
from palace_lab.repro.facts import Claim, Reading
from palace_lab.repro.holders import Holders, find_holders
from palace_lab.repro.reader import ReaderDiedError, read_once
from palace_lab.repro.reading import STORES
from palace_lab.repro.roots import advise
from palace_lab.repro.special import BY_ITSELF, LEFT_OVER, LOST, NEVER_USED, OF_DELETED, OF_LOST
from palace_store.anatomy.records import is_segment_id

Verdict = Literal["healthy", "in motion", "damaged"]

#: Between two readings, so that a flush that goes on touches a file in between.
PAUSE_S = 1.0
#: Kinds that one state of the database shows, whatever the index files do meanwhile.
_OF_DATABASE = (
    "watermark-", "log-", "seq-id-", "segment-name", "config-", "database-", "release-",
    "row-missing", "text-", "tables-", "owner-", "segment-twice",
)  # fmt: skip
_READABLE, _LISTABLE = os.R_OK, os.R_OK | os.X_OK


@dataclass(frozen=True)
class Finding:
    """A claim with what is to be said about it. `stands` is False for what may be a moment's."""

    claim: Claim
    stands: bool
    advice: Advice


@dataclass(frozen=True)
class Diagnosis:
    """What there is to say about one palace."""

    palace: Path
    reading: Reading
    readings: int
    holders: Holders
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """Return "damaged" if anything but notes stands, else whether anything is in motion."""
        serious = [each for each in self.findings if each.claim.severity != "note"]
        if any(each.stands for each in serious):
            return "damaged"
        return "in motion" if serious else "healthy"


def diagnose(palace: Path, *, tell: Callable[[str], None], pause_s: float = PAUSE_S) -> Diagnosis:
    """Look at a palace without changing anything; `tell` hears of each step.

    Raises `UsageError` for what is no palace or may not be read, `RefusedError` where there is no
    room for a copy, and `LabError` where a writer leaves no moment to read in.
    """
    place = check_palace(palace)
    holders = find_holders(place)
    readings = [_read(place, copy=bool(holders.processes), tell=tell)]
    if _serious(readings[0]) and (holders.processes or readings[0].moved):
        tell("looking again, since the palace is in use")
        time.sleep(pause_s)
        readings.append(_read(place, copy=True, tell=tell))
        holders = _both(holders, find_holders(place))
    last = readings[-1]
    claims = [*_weighed(last), *_cut_off(last, holders)]
    findings = tuple(
        Finding(claim, _stands(claim, readings), _advice(claim, claims, last)) for claim in claims
    )
    return Diagnosis(place, last, len(readings), holders, findings)


def check_palace(palace: Path) -> Path:
    """Return the palace's true path, or raise `UsageError` for what cannot be looked at."""
    try:
        place = palace.resolve(strict=True)
        names = os.listdir(place)  # noqa: PTH208 - names are all there is
    except FileNotFoundError:
        raise UsageError(f"there is nothing at {palace}: name the folder of a palace") from None
    except NotADirectoryError:
        raise UsageError(f"{palace} is not a folder: name the folder of a palace") from None
    except PermissionError:
        raise UsageError(f"{palace} may not be read: ask its owner, or be its owner") from None
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"{palace} leads nowhere ({reason}): name the folder of a palace"
        ) from None
    segments = [name for name in names if is_segment_id(name)]
    if not segments and not any(name in names for name in STORES):
        raise UsageError(
            f"{palace} is not a palace, it has none of {', '.join(STORES)}: name the folder of one"
        )
    for name in names:
        _check_readable(place / name, segment=name in segments)
    return place


def _check_readable(path: Path, *, segment: bool) -> None:
    if not segment and not path.name.startswith(tuple(STORES)):
        return
    files = [path]
    if segment and path.is_dir() and os.access(path, _LISTABLE, effective_ids=True):
        files += path.iterdir()
    for file in files:
        wanted = _LISTABLE if file.is_dir() else _READABLE
        if file.exists() and not os.access(file, wanted, effective_ids=True):
            raise UsageError(
                f"{file} may not be read, so nothing can be said about the palace: ask its owner, "
                "or be its owner"
            )


def _read(palace: Path, *, copy: bool, tell: Callable[[str], None]) -> Reading:
    try:
        return read_once(palace, copy=copy, tell=tell)
    except ReaderDiedError:
        return read_once(palace, copy=True, tell=tell)


def _serious(reading: Reading) -> bool:
    return any(claim.severity != "note" for claim in _weighed(reading))


def _weighed(reading: Reading) -> Iterator[Claim]:
    """Yield the claims; what 0.x does to a healthy index by itself is but a note."""
    serious = defaultdict(set)
    for claim in reading.claims:
        if claim.severity != "note":
            serious[claim.collection].add(claim.kind)
    old = {each.name for each in reading.collections if each.index_by == "0.x"}
    for claim in reading.claims:
        by_itself = serious[claim.collection] <= BY_ITSELF and "row-missing" not in serious[None]
        harmless = claim.collection in old and by_itself
        yield replace(claim, severity="note") if harmless else claim


def _advice(claim: Claim, claims: Sequence[Claim], reading: Reading) -> Advice:
    if claim.kind in BY_ITSELF and claim.severity == "note":
        return LEFT_OVER
    if claim.kind == "segment-ownerless" and claim.severity == "note":
        return OF_DELETED
    if claim.kind == "segment-unlisted" and claim.severity == "warning":
        return NEVER_USED
    others = {each.kind for each in claims if each.collection == claim.collection}
    renamed = any(
        aside.startswith(f"{each.segment}.drift-")
        for each in reading.collections
        for aside in reading.set_aside
        if each.name == claim.collection
    )
    if reading.store is not None and reading.store.retained and _is_lost(claim, reading):
        return LOST
    return advise(claim.kind, others, renamed=renamed)


def _is_lost(claim: Claim, reading: Reading) -> bool:
    """Tell whether it is about what no file of a palace holds: the log's end, or vectors."""
    lost = any(
        each.name == claim.collection and each.lost and each.lost == each.unfindable
        for each in reading.collections
    )
    return claim.kind == "log-gap" or (lost and claim.kind in OF_LOST)


def _both(one: Holders, other: Holders) -> Holders:
    found = {each.pid: each for each in (*one.processes, *other.processes)}
    return replace(other, processes=tuple(found.values()))


def _stands(claim: Claim, readings: list[Reading]) -> bool:
    first, last = readings[0], readings[-1]
    if len(readings) == 1 or claim.kind == "change-cut-off":
        return True
    same = any(
        (each.kind, each.collection) == (claim.kind, claim.collection) for each in first.claims
    )
    if claim.kind.startswith(_OF_DATABASE):
        return same
    return same and _files(first.before, claim, last) == _files(last.after, claim, last)


def _files(
    states: Mapping[str, tuple[int, ...]], claim: Claim, reading: Reading
) -> dict[str, tuple[int, ...]]:
    """Return the states of the index files of the claim's collection."""
    segments = {
        each.segment for each in reading.collections if claim.collection in (None, each.name)
    }
    return {name: state for name, state in states.items() if name.partition("/")[0] in segments}


def _cut_off(reading: Reading, holders: Holders) -> list[Claim]:
    """Return a note where palace_store's own mark says that a change never ended."""
    if reading.store is None or not reading.store.open_changes or holders.processes:
        return []
    names = ", ".join(repr(name) for name in reading.store.open_changes[:3])
    who = "no process of this user" if holders.not_looked_at else "no process"
    text = f"A change of {names} began and did not end, and {who} is at it."
    return [Claim("change-cut-off", "note", text)]
