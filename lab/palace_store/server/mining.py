"""Mining a folder: which of its files are text, and in what pieces they are remembered.

Files that are no UTF-8 text, too large or hidden are passed over and named, links are not
followed. A piece's id follows from where it stands and what it says, so mining the same folder
again adds only what is new.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from palace_store.errors import PalaceInputError

#: Our choice: a folder with more files is a mistake more often than a wish.
FILES_MAX = 10_000
FILE_BYTES_MAX = 1024 * 1024
PIECE_CHARACTERS_MAX = 2_000


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
    if not folder or "\0" in folder:
        raise PalaceInputError(f"{folder!r:.80} names no folder; nothing was changed")
    root = Path(folder).expanduser().absolute()
    if not root.is_dir():
        what = "is a file" if root.exists() else "is not there"
        raise PalaceInputError(f"{root} {what}; nothing was changed: name a folder of text files")
    inside, outside = root.resolve(), palace.resolve()
    if inside == outside or inside in outside.parents or outside in inside.parents:
        raise PalaceInputError(
            f"{root} holds the palace, or lies in it; nothing was changed: name another folder"
        )
    found = Found()
    for path in _files(root):
        name = path.relative_to(root).as_posix()
        try:
            text = _text(path)
        except (ValueError, OSError) as error:
            found.skipped[name] = str(getattr(error, "strerror", "") or error)
            continue
        found.files += 1
        found.pieces += _pieces(name, text)
    if not found.pieces:
        raise PalaceInputError(
            f"{root} has no text in any of its files ({len(found.skipped)} were passed over); "
            "nothing was changed"
        )
    return found


def _files(root: Path) -> list[Path]:
    paths: list[Path] = []
    for path in sorted(root.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if hidden or path.is_symlink() or not path.is_file():
            continue
        paths.append(path)
        if len(paths) > FILES_MAX:
            raise PalaceInputError(
                f"{root} has more than {FILES_MAX} files; nothing was changed: mine it in parts"
            )
    return paths


def _text(path: Path) -> str:
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
