"""What is built: listing the environments and removing those that no lock asks for.

Rules. An environment belongs to a lock when its key can be computed again from that lock. Whatever
somebody builds or uses is left alone, because its lock cannot be taken.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from palace_lab.environments import catalog
from palace_lab.environments.beside import digest_of, installed_beside
from palace_lab.environments.build import (
    disk_bytes,
    environment_key,
    environments_home,
    has_python,
)
from palace_lab.errors import RefusedError, UsageError
from palace_lab.provision import buildonce
from palace_lab.provision.uvtool import Progress, refuse_os_error, silent

State = Literal["built", "not built", "incomplete", "outdated", "unreadable"]


@dataclass(frozen=True)
class Listing:
    """One row of the list: a release without environment, or an environment found on disk.

    `python` is the version it was built with, or the bound where nothing is built. `disk_bytes`
    includes what uv's cache shares with it.
    """

    release: str
    python: str
    state: State
    disk_bytes: int
    path: Path | None
    beside: str = ""  # the digest of what is installed for a library beside the lab


def list_environments(home: Path | None = None) -> list[Listing]:
    """Return every known release and every environment on disk, oldest release first.

    Of those that are built, only such as a run would use now, by PALACE_LAB_TARGETS.
    Raises `RefusedError` when this user may not look where they are.
    """
    found = [_read(directory) for directory in _directories(environments_home(home))]
    beside = digest_of(installed_beside())
    rows = []
    for release in (*catalog.known_releases(), *catalog.asked_releases()):
        built = [
            row
            for row in found
            if row.release == release and row.state == "built" and row.beside == beside
        ]
        absent = Listing(release, catalog.python_bound(release), "not built", 0, None)
        rows.extend(built or [absent])
    return rows + [row for row in found if row.state != "built"]


def prune(home: Path | None = None, progress: Progress = silent) -> int:
    """Remove outdated and incomplete environments that nobody uses; return the bytes freed.

    An environment is outdated, too, if no note names its release as the newest any more, or if it
    was made for a library beside the lab that asks for something else now, or that nothing names.
    Files that uv's cache also holds are not counted, because removing them frees nothing.
    Raises `RefusedError` when the disk does not permit it.
    """
    freed_bytes = 0
    _forget_unnoted(progress)
    for directory in _directories(environments_home(home)):
        if _is_wanted(directory):
            continue
        try:
            unshared_bytes = disk_bytes(directory, unshared_only=True)
            if buildonce.discard(directory, unless=partial(_is_wanted, directory)):
                freed_bytes += unshared_bytes
                progress(f"{directory.name} is removed")
            else:
                progress(f"{directory.name} is in use, or was just finished, and is kept")
        except OSError as error:
            raise refuse_os_error(error, directory) from error
    return freed_bytes


def _forget_unnoted(progress: Progress) -> None:
    """Remove the locks of releases that were the newest once."""
    noted = set()
    for word in (catalog.NEWEST, catalog.NEWEST_PRE):
        with contextlib.suppress(UsageError):
            noted.add(catalog.resolve_release(word))
    for release in catalog.asked_releases():
        if release not in noted:
            path = catalog.lock_path(release)
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise refuse_os_error(error, path) from error
            progress(
                f"the lock of chromadb {release}, which is not the newest any more, is removed"
            )


def _directories(parent: Path) -> Iterator[Path]:
    try:
        found = sorted(parent.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise RefusedError(
            f"cannot read {parent}: {error.strerror}; PALACE_LAB_HOME names another place for it"
        ) from error
    yield from (path for path in found if path.name.startswith("chroma-") and path.is_dir())


def _is_wanted(directory: Path) -> bool:
    found = _read(directory)
    ours = not found.beside or found.beside == digest_of(installed_beside())
    return found.state == "built" and ours


def _read(directory: Path) -> Listing:
    release = directory.name.removeprefix("chroma-").partition("-py")[0]
    python = directory.name.partition("-py")[2].partition("-")[0]
    try:
        finished = buildonce.is_complete(directory) and has_python(directory)
    except PermissionError:
        return Listing(release, python, "unreadable", 0, directory)
    if not finished:
        return Listing(release, python, "incomplete", disk_bytes(directory), directory)
    try:
        facts = json.loads((directory / buildonce.COMPLETE).read_text(encoding="utf-8"))
        lock = catalog.lock_path(str(facts["release"])).read_bytes()
        beside = str(facts.get("beside", ""))
        key = environment_key(lock, facts["python_version"], facts["machine"], beside)
        state: State = "built" if directory.name.endswith(f"-{key}") else "outdated"
        return Listing(
            str(facts["release"]),
            str(facts["python_version"]),
            state,
            int(facts["disk_bytes"]),
            directory,
            beside,
        )
    except FileNotFoundError:
        return Listing(release, python, "outdated", disk_bytes(directory), directory)
    except (ValueError, KeyError, TypeError):
        # A mark that cannot be read was not written by a build that ended.
        return Listing(release, python, "incomplete", disk_bytes(directory), directory)
