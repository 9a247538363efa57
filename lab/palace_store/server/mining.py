"""Mining a folder: which of its files are text, and in what pieces they are remembered.

Files that are no UTF-8 text, by what they hold or by their name, or too large are passed over and
named; hidden ones are passed over, links are not followed. A piece's id follows from where it
stands and what it says, so mining the same folder again adds only what is new.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from palace_store.errors import PalaceInputError

#: Our choice: a folder with more files is a mistake more often than a wish.
FILES_MAX = 10_000
FILE_BYTES_MAX = 1024 * 1024
PIECE_CHARACTERS_MAX = 2_000
_SHOWN_MAX = 200


@dataclass(frozen=True)
class Piece:
    """A part of one file: its id, its text and the file, relative to the folder."""

    id: str
    text: str
    source: str


@dataclass
class Found:
    """What mining a folder would store, and the files it passes over, with the reason."""

    pieces: list[Piece] = field(default_factory=list)
    files: int = 0
    skipped: dict[str, str] = field(default_factory=dict)


def survey(folder: str, palace: Path) -> Found:
    """Read the folder; raises `PalaceInputError` for one that cannot be mined."""
    root = _root(folder)
    told = _shown(root)
    inside, outside = root.resolve(), palace.resolve()
    if inside == outside or inside in outside.parents or outside in inside.parents:
        raise PalaceInputError(
            f"{told} holds the palace, or lies in it; nothing was changed: name another folder"
        )
    found = Found()
    for path in _files(root):
        name = path.relative_to(root).as_posix()
        try:
            text = _text(path, name)
        except (ValueError, OSError) as error:
            found.skipped[_written(name)] = str(getattr(error, "strerror", "") or error)
            continue
        found.files += 1
        found.pieces += _pieces(name, text)
    if not found.pieces:
        raise PalaceInputError(
            f"{told} has no text in any of its files ({len(found.skipped)} were passed over); "
            "nothing was changed"
        )
    return found


def _written(name: str) -> str:
    """Return a name as it can be written down, whatever bytes it is made of."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _shown(path: Path) -> str:
    """Return a path for a sentence."""
    text = _written(str(path))
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"


def _root(folder: str) -> Path:
    """Return the folder that is to be mined."""
    if not folder or "\0" in folder:
        raise PalaceInputError(f"{folder!r:.80} names no folder; nothing was changed")
    try:
        root = Path(folder).expanduser().absolute()
    except RuntimeError:
        raise PalaceInputError(
            f"{_shown(Path(folder))} starts with a home folder that cannot be found; nothing was "
            "changed: name the folder from the root on"
        ) from None
    try:
        if stat.S_ISDIR(root.stat().st_mode):
            return root
        what = "is a file"
    except (FileNotFoundError, NotADirectoryError):
        what = "is not there"
    except OSError as error:
        what = f"cannot be looked at ({error.strerror})"
    raise PalaceInputError(
        f"{_shown(root)} {what}; nothing was changed: name a folder of text files"
    )


def _files(root: Path) -> list[Path]:
    paths: list[Path] = []
    for path in _below(root):
        if any(part.startswith(".") for part in path.relative_to(root).parts):
            continue
        with suppress(OSError):  # whoever reads it is told so too
            if path.is_symlink() or not path.is_file():
                continue
        paths.append(path)
        if len(paths) > FILES_MAX:
            raise PalaceInputError(
                f"{_shown(root)} has more than {FILES_MAX} files; nothing was changed: "
                "mine it in parts"
            )
    return paths


def _below(root: Path) -> list[Path]:
    try:
        return sorted(root.rglob("*"))
    except (OSError, RecursionError) as error:
        why = getattr(error, "strerror", "") or "it is nested too deep"
        raise PalaceInputError(
            f"{_shown(root)} cannot be read to its end ({why}); nothing was changed: "
            "mine it in parts"
        ) from None


def _text(path: Path, name: str) -> str:
    if name != _written(name):
        raise ValueError("its name is no UTF-8 text")
    size = path.stat().st_size
    if size > FILE_BYTES_MAX:
        raise ValueError(f"{size} bytes, at most {FILE_BYTES_MAX} are read")
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("no UTF-8 text") from None
    if "\0" in text:
        raise ValueError("no text: it has a NUL")
    return text


def _pieces(name: str, text: str) -> Iterator[Piece]:
    for start in range(0, len(text), PIECE_CHARACTERS_MAX):
        part = text[start : start + PIECE_CHARACTERS_MAX]
        if part.strip():
            spelled = f"{name}\0{start}\0{part}".encode()
            yield Piece(f"mined-{hashlib.sha256(spelled).hexdigest()[:32]}", part, name)
