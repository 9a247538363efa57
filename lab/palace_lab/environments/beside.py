"""Somebody's own library beside the lab: a folder of targets, and what is installed for them.

PALACE_LAB_TARGETS names the folder. Its files are targets as the lab's own are, and where it has a
requirements.txt, each environment of chromadb gets what that names, in a directory of its own.

Rules. The lock of the release decides: what does not fit it is refused, so that chromadb is the one
a verdict names. A project on this disk is installed editable, so that its code is read anew by each
run; what decides its requirements is part of the environment's key. Other requirements are taken
as they resolve when the environment is built, and stay so: pin them.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from palace_lab.errors import UsageError

#: Environment variable that names the folder.
VARIABLE = "PALACE_LAB_TARGETS"
REQUIREMENTS = "requirements.txt"

_LABS = Path(__file__).parents[1] / "targets"
#: What says what an editable project requires.
_PROJECT_FILES = ("pyproject.toml", "setup.cfg", "setup.py")
_EDITABLE = re.compile(r"(?:-e|--editable)[ =]\s*(\S.*)")
_COMMENT = re.compile(r"(?:^|\s)#.*")


@dataclass(frozen=True)
class Beside:
    """What is installed beside chromadb: its lines, and a digest of all that decides it."""

    path: Path
    lines: tuple[str, ...]
    digest: str


def targets_folder() -> Path | None:
    """Return the folder of somebody's own targets, None where the variable names none.

    Raises `UsageError` for one that is not there, or has a file of the name of one of the lab's.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    folder = Path(named).expanduser().absolute()
    try:
        files = sorted(path.name for path in folder.iterdir() if path.suffix == ".py")
    except OSError as error:
        raise UsageError(
            f"{VARIABLE} names {folder}, which cannot be read: {error.strerror}; name a folder of "
            "targets, or unset it"
        ) from None
    for name in files:
        if name != "__init__.py" and (_LABS / name).exists():
            raise UsageError(
                f"{folder / name} has the name of one of the lab's own targets; rename it"
            )
    return folder


def installed_beside() -> Beside | None:
    """Return what the folder's requirements.txt asks for, None where there is none.

    Raises `UsageError` for a line that is neither a requirement nor an editable project.
    """
    folder = targets_folder()
    if folder is None:
        return None
    path = folder / REQUIREMENTS
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as text: {error}; mend it") from None
    lines = tuple(line for each in text.splitlines() if (line := _COMMENT.sub("", each).strip()))
    if not lines:
        return None
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode())
        for decides in _deciding(folder, path, line):
            digest.update(b"\0" + decides + b"\0")
    return Beside(path, lines, digest.hexdigest())


def digest_of(beside: Beside | None) -> str:
    """Return the digest of what is installed beside chromadb, "" for nothing."""
    return "" if beside is None else beside.digest


def _deciding(folder: Path, path: Path, line: str) -> list[bytes]:
    """Return what decides the content of a line beside its words."""
    editable = _EDITABLE.fullmatch(line)
    if editable is None:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            raise _odd(path, line, "is neither a requirement nor an editable project") from None
        if (requirement.url or "").startswith("file:"):
            raise _odd(path, line, "is a project on this disk whose changes would not be seen")
        return []
    project = folder / re.sub(r"\[[^\]]*\]$", "", editable[1])
    decides = [file.read_bytes() for name in _PROJECT_FILES if (file := project / name).is_file()]
    if not decides:
        raise _odd(path, line, f"names {project}, which is no project that can be installed")
    return [os.fsencode(project.resolve()), *decides]


def _odd(path: Path, line: str, why: str) -> UsageError:
    return UsageError(
        f"{path}: {line[:200]!a} {why}; write lines such as 'mylib==1.2.0', or '-e ../mylib' for a "
        f"project on this disk, relative to {path.parent}"
    )
