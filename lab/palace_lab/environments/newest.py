"""Which release of chromadb is newest, and which pre-release: asked of the index, and noted.

Rules. The index is asked here and nowhere else, so that a run, its workers and its repetition mean
one release by ``newest``. A release without a committed lock gets one beside this user's
environments; the checkout is not written to. Where there is no pre-release that is newer than the
newest release, that is a refusal: nothing stands in for it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from palace_lab.called import called
from palace_lab.environments import catalog, locking
from palace_lab.environments.interpreters import find_uv
from palace_lab.errors import RefusedError
from palace_lab.provision.uvtool import Progress, refuse_os_error, silent

WORDS = (catalog.NEWEST, catalog.NEWEST_PRE)


def lock_newest(
    word: str,
    *,
    upgrade: bool = False,
    progress: Progress = silent,
    ask: Callable[[str, Progress], Version] | None = None,
) -> tuple[str, Path]:
    """Find the release a word stands for, give it a lock and note it; returns it and its lock.

    `word` is ``newest`` or ``newest-pre``; `ask` answers with the newest release on the index, in
    place of uv. Raises `RefusedError` where the index cannot be asked, or has no such pre-release:
    then nothing is noted any more.
    """
    found = (ask or ask_index)(word, progress)
    locks = catalog.asked_locks()
    note = locks / word
    try:
        locks.mkdir(parents=True, exist_ok=True)
        if word == catalog.NEWEST_PRE and not found.is_prerelease:
            note.unlink(missing_ok=True)
            raise RefusedError(
                f"the package index has no pre-release of chromadb newer than {found}, its newest "
                f"release, so nothing can be tested as {word}; `{called()} envs lock newest` is "
                "for that release"
            )
        release = str(found)
        if release not in catalog.known_releases():
            locking.make_lock(release, upgrade=upgrade, locks=locks, progress=progress)
        fresh = note.with_suffix(".new")
        fresh.write_text(release, encoding="utf-8")
        fresh.replace(note)
    except OSError as error:
        raise refuse_os_error(error, note) from error
    return release, catalog.lock_path(release)


def ask_index(word: str, progress: Progress) -> Version:
    """Return the newest release on the package index that uv may use; of all, for ``newest-pre``.

    Raises `RefusedError` if the index cannot be reached: what uv has in its cache is no answer.
    """
    doing = f"asking the package index for the {word} chromadb"
    progress(doing)
    with tempfile.TemporaryDirectory(prefix="palace-lab-newest-") as scratch:
        wanted = Path(scratch) / "requirements.in"
        wanted.write_text("chromadb\n", encoding="utf-8")
        answer = find_uv().run(
            [
                *(*locking.COMPILE.split()[1:], *locking.PLAIN.split(), "--no-deps"),
                *("--prerelease", "allow" if word == catalog.NEWEST_PRE else "disallow"),
                *("--refresh-package", "chromadb", str(wanted)),
            ],
            doing=doing,
            into=Path(scratch),
            seconds_max=locking.RESOLVE_SECONDS_MAX,
            progress=progress,
        )
    return newest_of(answer)


def newest_of(answer: str) -> Version:
    """Return the newest version that a resolution names; it has one for each range of Pythons."""
    pins = (Requirement(line) for line in answer.splitlines() if line.strip())
    return max(Version(pin.version) for each in pins for pin in each.specifier)
