"""S1: setting a damaged vector segment aside, by the report's rule and by ours.

`quarantine_stale_hnsw` is the published fix, parameters included, and `quarantine_miscounted_hnsw`
what its review asked for instead of the age of a file. Both rename and no more. Once chromadb has
purged its log, the vectors live only in the files they rename, so every old vector is lost to
search while counts and integrity checks say that all is well (measured: 0 of 500 findable on 0.6.3
and 1.5.8). Our own recovery (`recovery`) uses `set_aside` and rebuilds from the log.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
from collections import defaultdict
from datetime import datetime, timezone
from pathlib import Path

from palace_store.anatomy import AnatomyError, CollectionSurvey, survey
from palace_store.anatomy.hnsw_files import PICKLE
from palace_store.anatomy.replay import apply_to_index
from palace_store.anatomy.salvage import DRIFT
from palace_store.errors import PalaceInputError, SetAsideError
from palace_store.fixes import Fixes

_LOG = logging.getLogger(__name__)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: Environment variable that switches the renaming at open off: 0, false, no or off.
OPT_OUT = "PALACE_QUARANTINE"
_OFF, _ON = ("0", "false", "no", "off"), ("", "1", "true", "yes", "on")
#: What follows the UUID of a directory that our recovery has set aside; the last where it may hold
#: vectors that are nowhere else, so that it is never removed.
REBUILT, TORN = "rebuilt", "torn"
#: How many directories of one segment our recovery leaves for somebody to look at.
KEPT = 2


def quarantine_stale_hnsw(palace_path: str | Path, stale_seconds: float = 3600.0) -> list[str]:
    """Rename each vector segment whose data file is older than the database by `stale_seconds`.

    Returns the new paths. Does nothing for a missing palace or database, or where the opt-out
    variable says so; never deletes; never renames twice. A rename that the system refuses is
    logged, the segment stays, and `SetAsideError` is raised so that the palace is not opened.
    """
    palace = Path(palace_path)
    if opted_out():
        return []
    try:
        database_s = (palace / "chroma.sqlite3").stat().st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return []
    stale: dict[Path, str] = {}
    for segment in segment_directories(palace):
        try:
            older_s = database_s - (segment / "data_level0.bin").stat().st_mtime
        except FileNotFoundError:
            continue  # never written, or a peer has just set it aside
        if older_s > stale_seconds:
            stale[segment] = f"{older_s:.0f} s older than its database"
    return _rename(stale)


def quarantine_miscounted_hnsw(palace_path: str | Path) -> list[str]:
    """Rename each vector segment whose pickle counts other elements than there are rows.

    Otherwise as `quarantine_stale_hnsw`. Runs before this process has a chromadb client. A palace
    that cannot be surveyed is left as it is, with a warning.
    """
    palace = Path(palace_path)
    if opted_out() or not (palace / "chroma.sqlite3").is_file():
        return []
    try:
        collections = survey(palace, deep=False).collections
    except AnatomyError as error:
        _LOG.warning("the index of %s could not be counted and stays as it is: %s", palace, error)
        return []
    said = {each.segment.path: miscount(each) for each in collections if each.segment is not None}
    return _rename({segment: why for segment, why in said.items() if why is not None})


def quarantine_before_open(palace: Path, fixes: Fixes, stale_seconds: float) -> None:
    """Rename as the report or its review says; ours waits for the note of a death instead."""
    variant = fixes.variant("quarantine")
    if variant == "reported":
        quarantine_stale_hnsw(palace, stale_seconds)
    elif variant == "reviewed":
        quarantine_miscounted_hnsw(palace)


def miscount(each: CollectionSurvey) -> str | None:
    """Return how the index' pickle contradicts the number of rows, None if it does not.

    What the log still owes the index is counted as if the index had it already; an index that has
    not been persisted yet owes nothing. The vectors themselves are not looked at, so a data file
    torn before the pickle was rewritten counts as healthy.
    """
    segment = each.segment
    if segment is None or not segment.files:
        return None
    if segment.index is None:
        persisted = PICKLE in segment.files or each.vector_watermark is not None
        return "without a readable pickle" if persisted else None
    known = apply_to_index(
        segment.id_to_label, each.collection.log, each.vector_start, each.dimension
    )
    if len(known) == len(each.rows):
        return None
    return f"of {len(known)} elements, the log included, for {len(each.rows)} rows"


def opted_out() -> bool:
    """Tell whether the opt-out variable switches the renaming off; other words are refused."""
    word = os.environ.get(OPT_OUT, "").strip().lower()
    if word not in _OFF + _ON:
        raise PalaceInputError(
            f"the environment variable {OPT_OUT} is {word!r}: set it to off (or 0, false, no), so "
            "that no index is renamed when a palace is opened, or to on, or unset it"
        )
    return word in _OFF


def _rename(found: dict[Path, str]) -> list[str]:
    moved: list[str] = []
    for segment, why in found.items():
        try:
            target = set_aside(segment, DRIFT)
        except FileNotFoundError:
            continue  # a peer was faster
        _LOG.warning("segment %s is %s: now %s", segment, why, target)
        moved.append(str(target))
    return moved


def segment_directories(palace: Path) -> list[Path]:
    """Return the live segment directories: named by a bare UUID, so never one set aside before."""
    return sorted(
        entry for entry in palace.iterdir() if _UUID.fullmatch(entry.name) and entry.is_dir()
    )


def set_aside(segment: Path, why: str) -> Path:
    """Rename a segment directory to `<uuid>.<why>-YYYYMMDD-HHMMSS`, numbered if that is taken.

    The name is made first, empty, and the rename puts the directory in its place: no two processes
    get one name and nothing that is there is replaced. Raises FileNotFoundError if a peer was
    faster, `SetAsideError` if the system refuses; then the segment is where it was.
    """
    stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    target = segment.with_name(f"{segment.name}.{why}-{stamp}")
    number = 1
    linked = segment.is_symlink()  # a link replaces a file, a directory an empty directory
    make, unmake = (Path.touch, Path.unlink) if linked else (Path.mkdir, Path.rmdir)
    while True:
        try:
            make(target, exist_ok=False)
        except FileExistsError:
            number += 1
            target = segment.with_name(f"{segment.name}.{why}-{stamp}-{number}")
        except OSError as error:
            raise _refused(segment, why, error) from error
        else:
            break
    try:
        segment.rename(target)
    except OSError as error:
        with contextlib.suppress(OSError):  # somebody has put something there, so it is his now
            unmake(target)
        if isinstance(error, FileNotFoundError):
            raise
        raise _refused(segment, why, error) from error
    return target


def _refused(segment: Path, why: str, error: OSError) -> SetAsideError:
    opened_as_it_is = f", or set {OPT_OUT}=off to open it as it is" if why == DRIFT else ""
    sentence = (
        f"segment {segment} could not be set aside ({error.strerror}); it stays, and the palace is "
        f"not opened: let this user rename directories in {segment.parent}{opened_as_it_is}"
    )
    _LOG.error(sentence)
    return SetAsideError(sentence)


def thin_out(palace: Path) -> None:
    """Remove what our recovery set aside, but for the newest `KEPT` of each segment.

    Only for when an index has been rebuilt: every vector of these directories is in the log. What
    the report's rule renamed is never touched.
    """
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for entry in palace.glob(f"*.{REBUILT}-*"):
        if _UUID.fullmatch(entry.name.partition(".")[0]) and entry.is_dir():
            found[entry.name.partition(".")[0]].append(entry)
    for entries in found.values():
        entries.sort(key=lambda entry: (entry.stat().st_ctime_ns, entry.name))
        for entry in entries[:-KEPT]:
            shutil.rmtree(entry, ignore_errors=True)  # what stays is removed the next time
