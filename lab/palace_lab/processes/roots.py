"""The import root: the one directory through which an environment reaches lab code.

Rules: it holds two symbolic links and nothing else, so a worker that finds numpy or chromadb found
its own environment's.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from palace_lab.errors import RefusedError

PACKAGES = ("palace_store", "palace_lab")


def make_import_root(directory: Path) -> Path:
    """Make `directory` an import root and return it; one that is there already is kept.

    Raises RefusedError if a package of the lab is not installed as a plain directory.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name in PACKAGES:
        link = directory / name
        target = _location(name)
        if not link.is_symlink():
            link.symlink_to(target, target_is_directory=True)
        elif link.resolve() != target:
            raise RefusedError(
                f"{link} points to {link.resolve()}, but {name} is at {target}; "
                f"give this run a directory of its own"
            )
    return directory


def _location(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    places = list(spec.submodule_search_locations or ()) if spec else []
    if len(places) != 1 or not Path(places[0]).is_dir():
        raise RefusedError(
            f"{name} is not installed as a directory (found: {places or 'nothing'}); "
            f"workers reach it by path, so install palace-lab unzipped"
        )
    return Path(places[0]).resolve()
